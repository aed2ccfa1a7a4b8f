"""record and span: watch what happens inside a `with` block, and write a timeline."""

from __future__ import annotations

import asyncio
import sys
import warnings
from _thread import allocate_lock
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from time import perf_counter
from types import FunctionType
from typing import Any

from lessons_support.log import Life, Stretch, Words
from lessons_support.story import Notes, tell
from lessons_support.timeline import CANCELLED, OK, Timeline
from lessons_support.watch import POST, WANTED, WATCHES, Watch, hide_frame, name_of

ACTIVE: list[Recording] = []
"""The recordings under way, in all threads."""

_lock = allocate_lock()


def record() -> Recording:
    """Watch whatever happens on this event loop inside the block, in real time.

    ``with record() as timeline:`` gives a `Timeline`, to be asked after the block.
    Where no loop runs yet, loops that this thread starts inside the block are watched.
    Recording changes nothing: what the block raises, it raises as without.

    Raises TypeError if the running loop is not one of asyncio's own.
    """
    return Recording()


def span(name: str) -> Span:
    """Name a stretch of any code, in any thread: it gets a lane in the recording.

    ``with span("toast"):`` inside a task shows what the task did meanwhile; in another
    thread, or where no loop runs, the stretch counts as running.

    Raises TypeError if the name is not a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"span() needs a name, such as span('toast'); got {name!r}")
    return Span(name)


def outcome_of(error: type[BaseException] | None) -> str:
    """The word for how a stretch of code has ended."""
    if error is None:
        return OK
    if issubclass(error, asyncio.CancelledError):
        return CANCELLED
    return error.__name__


def active_here() -> list[Recording]:
    """The recordings that a line of this thread belongs to.

    They are the thread's own; or all there are, in a thread that has none.
    """
    thread = get_ident()
    return [x for x in ACTIVE if x.thread == thread] or list(ACTIVE)


def watch_here() -> Watch | None:
    """The watch over the loop that runs in this thread."""
    return WATCHES.get(asyncio._get_running_loop())


def show_request(name: str) -> Life | None:
    """Let the recordings under way see this thread's loop, and the task that runs.

    A server runs on a loop of its own, where only requests show. What is noted of the
    task is returned: who handles the request says how it ends.
    """
    loop = asyncio.get_running_loop()
    with _lock:
        for recording in ACTIVE:
            recording.watch_too(loop)
    watch = WATCHES.get(loop)
    if watch is None or watch.current is None:
        return None
    life = watch.log.lives[watch.current]
    life.hidden, life.coroutine = False, name
    return life


class Recording:
    """One ``with record()`` block: what it is interested in, from start to end."""

    clock: Callable[[], float] = perf_counter
    quiet = False  # whether it keeps Python's own warnings from the reader

    def __enter__(self) -> Timeline:
        if self in ACTIVE:
            raise RuntimeError(
                "this recording is under way: call record() once a block"
            )
        loop = asyncio._get_running_loop()
        if loop is not None and not isinstance(loop, asyncio.BaseEventLoop):
            raise TypeError(
                "record() watches asyncio's own event loops; the one that runs here "
                f"is a {type(loop).__module__}.{type(loop).__name__}"
            )
        self.thread = get_ident()
        self.timeline, self.notes = Timeline(), Notes()
        self.watches: list[tuple[Watch, int | None]] = []
        with _lock:
            if not ACTIVE:
                POST.take()
                LISTENER.start()
            LISTENER.listen_to(sys.stdout)
            ACTIVE.append(self)
            if loop is None:
                WANTED.append(self.watch)
            else:
                self.watch(loop)
        self.notes.start = self.clock()
        return self.timeline

    def watch(self, loop: Any) -> None:
        """Watch a loop, if it is this thread's and asyncio's own."""
        if get_ident() != self.thread or not isinstance(loop, asyncio.BaseEventLoop):
            return
        watch = self._watch_over(loop)
        self.clock = watch.clock
        self.watches.append((watch, watch.current))

    def watch_too(self, loop: asyncio.BaseEventLoop) -> None:
        """Watch the loop of another thread, on which the block does not run."""
        watched = any(x.loop is loop for x, _ in self.watches)
        if self.clock is perf_counter and not watched:
            self.watches.append((self._watch_over(loop), None))

    def _watch_over(self, loop: asyncio.BaseEventLoop) -> Watch:
        watch = WATCHES.get(loop)
        if watch is None:
            watch = Watch(loop, self.clock)
            watch.attach()
        return watch

    def passes_on(self, text: str) -> str:
        """What of a printed text is noted and shown: all of it."""
        return text

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        notes = self.notes
        notes.end = self.clock()
        with _lock:
            notes.views += [x.view(block, notes.end) for x, block in self.watches]
            notes.outcome = outcome_of(error)
            ACTIVE.remove(self)
            if self.watch in WANTED:
                WANTED.remove(self.watch)
            used = {id(x) for active in ACTIVE for x, _ in active.watches}
            for watch, _ in self.watches:
                if id(watch) not in used:
                    watch.detach()
            if not ACTIVE:
                LISTENER.stop()
                POST.leave()
        self.watches.clear()
        self.timeline.end(lambda: tell(notes))


class Span:
    """One ``with span(name)`` block."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.stretch, watch = Stretch(self.name), watch_here()
        if watch is not None:
            self.stretch.log, self.stretch.lane = watch.log, watch.current
        for recording in active_here():
            recording.notes.stretches.append(self.stretch)
        self.clock = watch.clock if watch else perf_counter
        self.stretch.start = self.clock()

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.stretch.end = self.clock()
        self.stretch.outcome = outcome_of(error)


class _Tee:
    """Stands where a stream's ``write`` was: notes the words, and writes them."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.write = stream, stream.write
        self.found = vars(stream).get("write")
        stream.write = self

    def __call__(self, text: str) -> Any:
        watch, here = watch_here(), active_here()
        log, lane = (watch.log, watch.current) if watch else (None, None)
        at = [recording.clock() for recording in here]
        for recording in here:
            text = recording.passes_on(text)
        try:
            written = self.write(text)
        except BaseException as error:
            hide_frame(error)
            raise
        for recording, now in zip(here, at, strict=True):
            recording.notes.words.append(Words(now, get_ident(), log, lane, text))
        return written

    def remove(self) -> None:
        if vars(self.stream).get("write") is not self:
            return
        if self.found is None:
            del self.stream.write
        else:
            self.stream.write = self.found


class _Listener:
    """Hears what is printed, and which coroutines are thrown away unawaited."""

    def start(self) -> None:
        self.tees: list[_Tee] = []
        self.found = warnings._warn_unawaited_coroutine
        # The interpreter's own function, but for the `warn` that it calls: a function
        # around it would stand where the warning looks for the line to blame.
        names = {**self.found.__globals__, "warn": self.unawaited}
        self.ours = FunctionType(self.found.__code__, names)
        warnings._warn_unawaited_coroutine = self.ours

    def stop(self) -> None:
        for tee in reversed(self.tees):
            tee.remove()
        if warnings._warn_unawaited_coroutine is self.ours:
            warnings._warn_unawaited_coroutine = self.found

    def listen_to(self, stream: Any) -> None:
        """Hear a stream, once; one that takes no attributes is left alone."""
        if not any(tee.stream is stream for tee in self.tees):
            with suppress(AttributeError, TypeError):
                self.tees.append(_Tee(stream))

    def unawaited(
        self, message: str, category: type[Warning], stacklevel: int, source: Any
    ) -> None:
        here = active_here()
        for recording in here:
            recording.notes.never_awaited.append(
                name_of(source).rpartition("<locals>.")[2]
            )
        if any(recording.quiet for recording in here):
            return
        warnings.warn(message, category, stacklevel=stacklevel + 1, source=source)


LISTENER = _Listener()
