import asyncio
import os
import subprocess
import sys
from queue import Empty

import pytest
from kernels import kernel

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGURG")

SLEEPS = "await asyncio.sleep(8)"
WAITS = "await asyncio.Event().wait()"
RECORDED = f"with record():\n    {WAITS}"
VERBS = "from lessons_support import record, rehearse"


async def stopped(folder, first, then, within):
    """What a cell replies to Stop in so many seconds, and what the next one does."""
    async with kernel(folder) as client:
        await client.execute_interactive(f"import asyncio\n{first}", timeout=60)
        client.execute(then, stop_on_error=False)  # or the next cell may be aborted
        await asyncio.sleep(1)
        await client.parent.interrupt_kernel()
        try:
            reply = await client.get_shell_msg(timeout=within)
        except Empty:
            return "no reply", None
        after = await client.execute_interactive("1 + 1", timeout=60)
        return reply["content"].get("ename"), after["content"]["status"]


@pytest.mark.parametrize("cell", [SLEEPS, WAITS, RECORDED])
def test_stop_ends_a_cell_that_awaits_and_the_next_cell_works(cell, tmp_path):
    name, status = asyncio.run(stopped(tmp_path, VERBS, cell, within=5))
    assert name in ("CancelledError", "KeyboardInterrupt")
    assert status == "ok"


def test_stop_ends_a_rehearsal_and_the_next_cell_works(tmp_path):
    endless = (
        "async def on_and_on():\n    while True: pass\nrehearse(on_and_on, limit=60)"
    )
    name, status = asyncio.run(stopped(tmp_path, VERBS, endless, within=10))
    assert (name, status) == ("KeyboardInterrupt", "ok")


def test_without_the_handler_stop_would_not_reach_the_cell(tmp_path):
    undone = "import signal\n" + VERBS
    undone += "\nasyncio.get_running_loop().remove_signal_handler(signal.SIGURG)"
    assert asyncio.run(stopped(tmp_path, undone, WAITS, within=3)) == ("no reply", None)


def test_a_script_keeps_its_signals():
    code = (
        "import asyncio, signal\n"
        "async def main():\n"
        "    from lessons_support import record\n"
        "    with record(): await asyncio.sleep(0)\n"
        "    return signal.getsignal(signal.SIGURG) is signal.SIG_DFL\n"
        "print(asyncio.run(main()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("True\n", "")
