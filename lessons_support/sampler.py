"""Look at a loop's thread while a step lasts, to name the line that blocks.

Afterwards it is too late: a step that has ended no longer says where it spent its
time. So a thread of its own looks every 20 ms. It is started below the `threading`
module, where the program that is watched neither sees nor counts it.
"""

from __future__ import annotations

import asyncio
import linecache
import sys
import sysconfig
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import NamedTuple

TICK = 0.02
"""Seconds between two looks: a step of 50 ms gets at least one."""

LIBRARIES = (
    *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib")),
    str(Path(__file__).parent),
    "<frozen",
)

ASYNCIO = str(Path(asyncio.__file__).parent)


STEP = asyncio.Handle._run.__code__
"""Below it on the stack is who started the loop, which is not to blame."""


class Place(NamedTuple):
    """A line of the program: the file that holds it and its number, from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        """The line and where it stands: ``time.sleep(1) (cell In[3], line 2)``."""
        code = linecache.getline(self.file, self.line).strip()
        where = f"{_cell(self.file) or Path(self.file).name}, line {self.line}"
        return f"{code} ({where})" if code else where


def _cell(file: str) -> str | None:
    """The notebook cell that a file name stands for, as tracebacks name it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    label = shell.compile.format_code_name(file) if shell else None
    return f"{label[0].lower()} {label[1]}" if label and label[0] == "Cell" else None


def place_of(thread: int) -> Place | None:
    """The line of the reader's own code that a thread's step is at."""
    return place_in(sys._current_frames().get(thread))


def place_in(frame: FrameType | None) -> Place | None:
    """The line of the reader's own code that a frame's step is at, innermost first."""
    while frame is not None and frame.f_code is not STEP:
        if not frame.f_code.co_filename.startswith(LIBRARIES):
            return Place(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


def place_raised(error: BaseException, above: str = "") -> Place | None:
    """The innermost line of the reader's own code that an exception came from.

    What is called from the file ``above``, further in, does not count.
    """
    steps = ((x.f_code.co_filename, line) for x, line in walk_tb(error.__traceback__))
    outer = [Place(*step) for step in takewhile(lambda x: x[0] != above, steps)]
    own = [place for place in outer if not place.file.startswith(LIBRARIES)]
    return own[-1] if own else None


def function_of_asyncio(error: BaseException) -> str:
    """The function of asyncio that an exception came out of, or ""."""
    name = ""
    for frame, _ in walk_tb(error.__traceback__):
        of_asyncio = frame.f_code.co_filename.startswith(ASYNCIO)
        name = (name or frame.f_code.co_name) if of_asyncio else ""
    return name


class Sampler:
    """Calls ``look`` every 20 ms, in a thread of its own, from `start` to `stop`."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look

    def start(self) -> None:
        self._stop, self._done = allocate_lock(), allocate_lock()
        self._stop.acquire()
        self._done.acquire()
        start_new_thread(self._work, (self._stop, self._done))

    def _work(self, stop, done) -> None:
        try:
            while not stop.acquire(timeout=TICK):
                self._look()
        finally:
            done.release()

    def stop(self) -> None:
        """End the thread and wait until it is gone (a forked child has none)."""
        self._stop.release()
        self._done.acquire(timeout=1)
