"""The reception: it stands before an app, and notes what becomes of each request."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from traceback import walk_tb
from types import FrameType
from typing import Any

from lessons_support.apart import Stop
from lessons_support.garbage import let_go
from lessons_support.recorder import outcome_of, show_request
from lessons_support.sampler import Place, place_raised
from lessons_support.timeline import PENDING
from lessons_support.words import at_place, in_brief

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]

CUT_OFF = (asyncio.CancelledError, GeneratorExit, Stop)
"""What a handler meets that has not ended when its server stops."""


class Reception:
    """An ASGI app around another one, which behaves as it does without.

    ``open`` are the requests under way, ``failures`` the sentences on those that have
    failed, in order, and ``broken`` that on the app's own start or end. ``closing`` is
    set once the server stops: whatever is cancelled from then on did not fail.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.open: list[_Request] = []
        self.failures: list[str] = []
        self.broken = ""
        self.closing = False

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        request = _Request(scope)
        self.open.append(request)
        try:
            await self.app(scope, receive, partial(request.send, send))
        except BaseException as error:
            request.ends_with(error)
            self.failures.append(self._told(request.name, error, request.endpoint))
            # Where the client has its answer (500), the error is told by us alone. Seen
            # by uvicorn, it would close the connection, maybe under the next request.
            if not (request.complete and isinstance(error, Exception)):
                raise
            _close_returned(error)
            let_go(error)
        finally:
            self.open.remove(request)

    async def _other(self, scope: Any, receive: Any, send: Send) -> None:
        """The app's start and end, which are one call; an app may know neither."""

        async def note(message: Message) -> None:
            if message["type"].endswith(".failed"):
                self.broken = "The app said that it had failed."
            await send(message)

        try:
            await self.app(scope, receive, note)
        except BaseException as error:
            if self.closing and isinstance(error, CUT_OFF):
                self.broken = ""
            elif self.broken:
                self.broken = self._told("The app", error, None)
            raise

    def _told(self, name: str, error: BaseException, fallback: Place | None) -> str:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        place = place_raised(error) or fallback
        if self.closing and isinstance(error, CUT_OFF):
            return unanswered(name, place)
        return f"{name} {_what(error)}{at_place(place)}."


class _Request:
    """One request under way, and what a recording notes of its task, if one does."""

    def __init__(self, scope: Any) -> None:
        self.scope = scope
        self.name = f"{scope['method']} {scope['path']}"
        asyncio.current_task().set_name(self.name)
        self.life = show_request(self.name)
        self.complete = False

    @property
    def endpoint(self) -> Place | None:
        """The first line of the function that handles it, which routing has found."""
        code = getattr(self.scope.get("endpoint"), "__code__", None)
        return Place(code.co_filename, code.co_firstlineno) if code else None

    async def send(self, send: Send, message: Message) -> None:
        """Pass on a part of the answer: after the last one, its outcome is known."""
        if message["type"] == "http.response.start" and message["status"] == 500:
            self.ends_with(sys.exception())
        elif not message.get("more_body", message["type"] != "http.response.body"):
            self.is_answered()
        await send(message)

    def is_answered(self) -> None:
        """Note it before the answer leaves: the recording may end when it arrives."""
        self.complete = True
        if self.life:
            self.life.answered = perf_counter()
            if self.life.outcome == PENDING:
                self.ends_with(None)

    def ends_with(self, error: BaseException | None) -> None:
        if self.life:
            self.life.outcome = outcome_of(error and type(error))


def unanswered(name: str, place: Place | None) -> str:
    """What is said of a request that the server's end has cut off."""
    at = f": {place}" if place else ""
    return f"{name} was still under way when the server stopped{at}."


def _what(error: BaseException) -> str:
    """What went wrong."""
    if _encoder(error):
        return f"returned {_unsendable(str(error))} cannot be sent as JSON"
    return f"failed with {in_brief(error)}"


def _encoder(error: BaseException) -> FrameType | None:
    """The frame in which FastAPI failed to make JSON of what a handler returned."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    if frames and frames[-1].f_globals.get("__name__") == "fastapi.encoders":
        return frames[-1]
    return None


def _close_returned(error: BaseException) -> None:
    """Close a coroutine that was returned: that is told, it need not warn as well."""
    for held in gc.get_referents(*filter(None, [_encoder(error)])):
        if inspect.iscoroutine(held):
            held.close()


def _unsendable(said: str) -> str:
    """What a handler returned in place of an answer, by what FastAPI says of it."""
    if found := re.search(r"'(\w+)' object is not iterable", said):
        return f"a value of type {found[1]}, which"
    if "await wasn't used with future" in said:
        return "a task or Future, not awaited, which"
    return "what"
