"""Do a piece of work in a thread of its own, and stop it there if need be.

A thread is stopped by an exception that it finds when it next looks, in each loop and
each call of Python code. So what never returns to Python code cannot be stopped: a
``time.sleep(3600)``, or one endless calculation in C.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from functools import partial
from threading import get_ident
from time import perf_counter
from types import CodeType, FrameType
from typing import Any

PATIENCE, POLITE = 1.0, 0.1
"""For so many seconds a thread is asked to stop, and at first it is asked politely."""

_ask = ctypes.PYFUNCTYPE(None, ctypes.c_ulong, ctypes.py_object)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)


class Stop(SystemExit):
    """Raised in a thread that is to end. (A SystemExit ends an event loop, too.)"""


class Apart:
    """A piece of work under way in a thread of its own, below `threading`.

    There the program neither sees nor counts it, and nothing of Python's own can be
    left half done when it is stopped. What the work raises is in ``error``. If it
    cannot be stopped, ``at_last`` is called once it ends.
    """

    def __init__(
        self, work: Callable[[], Any], at_last: Callable[[], Any] = lambda: None
    ) -> None:
        self.error: BaseException | None = None
        self.at_last, self.given_up = at_last, False
        self._done = allocate_lock()
        self._done.acquire()
        self.ident = start_new_thread(copy_context().run, (self._do, work))

    def _do(self, work: Callable[[], Any]) -> None:
        # A thread looks whether it is to end at a call and at a jump back. There is
        # neither between this `try` and the release.
        try:
            self._try(work)
        finally:
            self._done.release()
        if self.given_up:
            self.at_last()

    def _try(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as error:
            self.error = error

    def ended(self, within: float) -> bool:
        """Wait for the end, for at most so many seconds; whether it has come."""
        if not self._done.acquire(timeout=within):
            return False
        self._done.release()
        # Whoever asked `threading` for the thread's name has made it keep one.
        if isinstance(threading._active.get(self.ident), threading._DummyThread):
            threading._active.pop(self.ident, None)
        return True

    def frame(self) -> FrameType | None:
        """What the thread is running just now."""
        return sys._current_frames().get(self.ident)

    def stop(self) -> bool:
        """Ask the thread to end, again and again; whether it has."""
        begin = perf_counter()
        while not self.ended(0.01) and perf_counter() - begin < POLITE:
            _ask(self.ident, Stop)
        with nullcontext(Stop) if self.ended(0) else _not_to_be_caught(self.ident) as x:
            while not self.ended(0.01) and perf_counter() - begin < PATIENCE:
                _ask(self.ident, x)
        self.given_up = not self.ended(0)
        if self.given_up:
            _ask(self.ident, Stop)  # for when it next looks: once, and politely
        return not self.given_up


@contextmanager
def _not_to_be_caught(thread: int) -> Iterator[type[Stop]]:
    """A Stop for code that catches everything, again and again.

    Where such code catches it, it is raised once more, beyond the ``try``.
    """
    if sys.version_info < (3, 12):
        # Raised, it asks for the next one at once. No Python code may run in between,
        # for it would be stopped itself: hence the `partial`.
        kind = type("Stop", (Stop,), {})
        kind.__init__ = staticmethod(partial(_ask, thread, kind))
        yield kind
        return
    watching = sys.monitoring
    tool = next(x for x in range(5, -1, -1) if watching.get_tool(x) is None)
    watching.use_tool_id(tool, __name__)
    line = watching.events.LINE
    watching.register_callback(tool, line, partial(_at_each_line, thread))
    watching.set_events(tool, line)
    try:
        yield Stop
    finally:
        watching.set_events(tool, 0)
        watching.free_tool_id(tool)


def _at_each_line(thread: int, code: CodeType, _: int) -> None:
    """Raise Stop in a thread at each line, that of an ``except`` included."""
    spared = code.co_filename in (__file__, threading.__file__)
    if get_ident() == thread and not spared:
        raise Stop
