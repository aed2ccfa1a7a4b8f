"""Spare a notebook's recordings the long pauses of the garbage collector.

A full collection looks at every object there is. In a kernel that has loaded a web
framework that takes 50 to 100 ms, in the middle of any step of any task, which then
looks as if it had blocked the loop. What has been loaded by now stays to the end
anyway, so it is set aside, once, and later collections have little to look at. One
comes after each cell that checks, so that what an answer left unfinished complains
there, and not below a better one. A rehearsal holds full ones back; what an error
holds can be let go before one comes by.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from lessons_support.kernel import shell


@cache
def set_aside() -> None:
    """Let the collector forget what there is by now, in a notebook's kernel only."""
    if shell() is not None:
        gc.collect()
        gc.freeze()
        shell().events.register("post_run_cell", _collect_after_a_check)


def _collect_after_a_check(result: Any) -> None:
    if "check(" in result.info.raw_cell:
        gc.collect()


NEVER = 2**31 - 1
"""So many collections of younger objects come before a full one."""

_lock = Lock()
_thresholds: list[tuple[int, int, int]] = []


@contextmanager
def no_full_collections() -> Iterator[None]:
    """Meanwhile collect none but young objects, which is quick; in any thread."""
    with _lock:
        _thresholds.append(gc.get_threshold())
        gc.set_threshold(*_thresholds[0][:2], NEVER)
    try:
        yield
    finally:
        with _lock:
            latest = _thresholds.pop()
            if not _thresholds:
                gc.set_threshold(*latest)


def let_go(error: BaseException) -> None:
    """Free what the frames of a traceback hold, so that it complains now, not later."""
    waiting, seen = [error], set()
    while waiting:
        error = waiting.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            traceback.clear_frames(error.__traceback__)
            waiting += error.__cause__, error.__context__
            if isinstance(error, BaseExceptionGroup):
                waiting += error.exceptions
