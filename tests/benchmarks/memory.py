"""What memory a session takes in which all lessons have been opened, run and left open.

`python tests/benchmarks/memory.py`: JupyterLab as the README starts it, a kernel for
each lesson, every cell run, nothing closed. What processes share counts once (it is the
proportional set size, which only Linux tells). The browser is not counted: it runs on
the learner's machine.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
from jupyter_client import AsyncKernelClient

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from browser import served
from lessons import NOTEBOOKS, read

MB = 1_000_000
LIMIT = 120  # seconds for one cell


def megabytes(process: psutil.Process) -> float:
    return process.memory_full_info().pss / MB


def kernel_of(lab, lesson):
    """Open a lesson: its kernel's process number, and a client that talks to it."""
    asked = {"kernel": {"name": "python3"}, "path": f"{lesson.name}.ipynb"}
    asked |= {"name": lesson.name, "type": "notebook"}
    token = {"Authorization": f"token {lab.token}"}
    answer = httpx.post(f"{lab.url}api/sessions", json=asked, headers=token, timeout=60)
    number = answer.raise_for_status().json()["kernel"]["id"]
    file = f"kernel-{number}.json"
    [process] = [x for x in psutil.process_iter(["cmdline"]) if runs(x, file)]
    [place] = [x for x in process.info["cmdline"] if x.endswith(file)]
    return process, AsyncKernelClient(connection_file=place)


def runs(process, file):
    return any(x.endswith(file) for x in process.info["cmdline"] or ())


async def run(client, lesson):
    client.load_connection_file()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=LIMIT)
        for cell in lesson.code:
            await client.execute(cell.source, reply=True, timeout=LIMIT)
    finally:
        client.stop_channels()


def main():
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as lab:
        [server] = [
            x for x in psutil.Process().children() if "jupyterlab" in x.cmdline()
        ]
        kernels = []
        print("| lesson | its kernel alone, MB | the session so far, MB |")
        print("|---|---:|---:|")
        for lesson in map(read, NOTEBOOKS):
            process, client = kernel_of(lab, lesson)
            asyncio.run(run(client, lesson))
            kernels.append(process)
            time.sleep(1)
            everything = sum(map(megabytes, [server, *kernels]))
            alone = process.memory_full_info().uss / MB
            print(f"| {lesson.number} | {alone:.0f} | {everything:.0f} |", flush=True)
        print(f"JupyterLab's server: {megabytes(server):.0f} MB of it")


if __name__ == "__main__":
    main()
