"""Let JupyterLab's Stop button reach a cell that only awaits.

Stop sends the kernel a signal, SIGINT. Python notes it and acts at its next line; but
while a cell only awaits, the loop sleeps in the operating system, and there is no next
line until something else wakes it (ipykernel, issue 881). A loop that handles any one
signal is woken by all of them. So the kernel's loop gets to handle SIGURG, which nobody
sends here and which does nothing by default either. Windows has no such signal.
"""

from __future__ import annotations

import asyncio
import signal
import threading

from lessons_support.kernel import shell


def reach_awaiting_cells() -> bool:
    """Let Stop end a cell that awaits, if this is a notebook's kernel; whether it is.

    Scripts and other threads are left alone. To undo it, in a cell:
    ``asyncio.get_running_loop().remove_signal_handler(signal.SIGURG)``.
    """
    loop = asyncio._get_running_loop()
    if (
        loop is None
        or shell() is None
        or threading.current_thread() is not threading.main_thread()
        or getattr(signal, "SIGURG", None) is None
        or signal.getsignal(signal.SIGURG) is not signal.SIG_DFL
    ):
        return False
    loop.add_signal_handler(signal.SIGURG, _nothing)
    return True


def _nothing() -> None:
    """The loop has been woken, and that is all."""
