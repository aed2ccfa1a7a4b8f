"""serve: a real web server, for the length of a `with` block."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lessons_support.checks import HINT, _say
from lessons_support.recorder import watch_here
from lessons_support.servers import CommandServer, ThreadServer

TICK = 0.005
"""Seconds between two looks at how far a server is."""


def serve(app: Any, *, port: int = 0, reload: bool = False) -> Serving:
    """Serve an app on 127.0.0.1: ``with serve(app) as url:``, or ``async with``.

    An app object runs in a thread of its own, and each request gets a lane in the
    recordings under way. An import string, such as ``"main_02:app"``, is served by the
    command ``python -m uvicorn main_02:app`` in the notebook's folder; ``reload`` adds
    ``--reload``. ``port`` 0 is any free one. What requests have failed with is said
    when the block ends, and that a command has ended before. No request keeps the block
    from ending for more than some seconds.

    Raises TypeError or ValueError for what is neither, and RuntimeError in the block's
    first line if the server does not start.
    """
    if isinstance(app, str):
        if not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", app):
            raise ValueError(
                f'serve() takes "module:name", such as "main_02:app"; got {app!r}'
            )
        return Serving(CommandServer(app, port, reload))
    if not _is_app(app):
        raise TypeError(
            'serve() takes an app, such as app = FastAPI(), or "module:name"; '
            f"got {_what(app)}"
        )
    if reload:
        raise ValueError(
            'only a file can be reloaded: serve("module:name", reload=True)'
        )
    return Serving(ThreadServer(app, port))


def _is_app(app: Any) -> bool:
    """Whether it can be awaited with what a server passes on (ASGI 3)."""
    call = app if inspect.isroutine(app) else getattr(app, "__call__", None)  # noqa: B004
    if inspect.isclass(app) or not inspect.iscoroutinefunction(call):
        return False
    try:
        inspect.signature(call).bind("scope", "receive", "send")
    except TypeError:
        return False
    return True


def _what(value: Any) -> str:
    if inspect.isclass(value) or inspect.isroutine(value):
        kind = "class" if inspect.isclass(value) else "function"
        return f"the {kind} {value.__name__}"
    return f"a value of type {type(value).__name__}"


class Serving:
    """One server, from the start of a block to its end."""

    def __init__(self, server: CommandServer | ThreadServer) -> None:
        self.server = server
        self.begun = False

    def __enter__(self) -> str:
        self._begin()
        with _aside():
            try:
                _sleep_through(self.server.start())
            except BaseException:
                _sleep_through(self.server.stop())
                raise
        return self.server.url

    def __exit__(self, *_: object) -> None:
        with _aside():
            stopping = self.server.stop()
            try:
                _sleep_through(stopping)
            finally:  # an interrupt ends the waiting, not the stop
                _sleep_through(stopping)
        self._say_what_failed()

    async def __aenter__(self) -> str:
        self._begin()
        try:
            await _await_through(self.server.start())
        except BaseException:
            _sleep_through(self.server.stop())
            raise
        return self.server.url

    async def __aexit__(self, *_: object) -> None:
        stopping = self.server.stop()
        try:
            await _await_through(stopping)
        finally:  # cancelled
            _sleep_through(stopping)
        self._say_what_failed()

    def _begin(self) -> None:
        if self.begun:
            raise RuntimeError("this server has its block: call serve() once a block")
        self.begun = True

    def _say_what_failed(self) -> None:
        for sentence, times in Counter(self.server.failures).items():
            often = f"{times} times: " if times > 1 else ""
            _say(f"{HINT} {often}{sentence}")


def _aside() -> AbstractContextManager[None]:
    """What the loop is kept for meanwhile is none of the program's."""
    watch = watch_here()
    return watch.aside("server") if watch else nullcontext()


def _sleep_through(steps: Iterator[None]) -> None:
    for _ in steps:
        time.sleep(TICK)


async def _await_through(steps: Iterator[None]) -> None:
    for _ in steps:
        await asyncio.sleep(TICK)
