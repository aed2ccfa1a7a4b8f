"""rehearse: run a learner's function apart, on a fast-forward loop, with a limit."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from lessons_support.apart import Apart, Stop
from lessons_support.calls import Calls, Noted, parts
from lessons_support.fastforward import Clock, Endless, FastForwardLoop, Stuck
from lessons_support.garbage import let_go, no_full_collections
from lessons_support.recorder import Recording
from lessons_support.sampler import LIBRARIES, Place, place_in
from lessons_support.story import Key, Notes, names, tell
from lessons_support.timeline import (
    PENDING,
    RUN,
    WAIT,
    Call,
    Interval,
    Lane,
    Stopped,
    Story,
    Timeline,
)

MOST_PRINTED = 10_000
"""Characters that a rehearsed function may print; the rest is counted only."""

MOST_CALLBACK_ERRORS = 3
"""How many errors of callbacks are told: one that rings on may fail each time."""

CLEANING, GRACE = 0.5, 0.2
"""Seconds for tasks that were left over to end, and for a loop to see its limit."""


class NotAFunction(TypeError):
    """What was to be rehearsed cannot be called."""


def rehearse(function: Any, *args: Any, limit: float = 5.0) -> Timeline:
    """Call ``function(*args)`` and run what it returns, fast-forwarded, in a thread.

    The timeline tells how it went, in seconds that are exact for whatever only awaits:
    waits take no real time, and a step counts only if it blocks for over 50 ms. Threads
    and sockets are waited for in real time. ``limit`` is in real seconds.

    Raises nothing for what the function does; an exception, an exit, a deadlock or an
    end that never comes is told by the timeline. Only a call that never returns to
    Python, such as ``time.sleep(3600)``, cannot be stopped: it goes on apart.
    """
    return _Rehearsal(function, args, limit).run()


class _Rehearsal(Recording):
    """One rehearsal: a recording of a loop of its own."""

    quiet = True

    def __init__(self, function: Any, args: tuple[Any, ...], limit: float) -> None:
        self.function, self.limit = function, limit
        self.calls = Calls(args, self._step)
        self.result: Any = None
        self.exception: BaseException | None = None
        self.callback_errors: list[Exception] = []
        self.awaitable = True
        self.over = False
        self.halt: tuple[str, str, list[tuple[Any, Place | None]]] | None = None
        self.written = 0

    def run(self) -> Timeline:
        self.clock = Clock()
        self.loop = FastForwardLoop(self.clock)
        self.loop.set_exception_handler(self._complaint)
        with no_full_collections():  # which would look like steps that block
            self._perform()
        return self.timeline

    def _perform(self) -> None:
        self.loop.run_for(self.limit)
        work = Apart(self._play, at_last=self._close_loop)
        try:
            if not work.ended(self.limit + GRACE):
                place, lane = place_in(work.frame()), self._current()
                why = "busy" if work.stop() else "unstoppable"
                self.halt = why, "", [(lane, place)]
        finally:
            ended = work.ended(0) or work.stop()
            self._close()
            if ended:
                self._clean_up()

    # In the thread apart.

    def _play(self) -> None:
        self.__enter__()
        self.watch(self.loop)
        self.clock.watch = self.watches[0][0]
        name = getattr(self.function, "__name__", "function")
        task = self.loop.create_task(self._stage(), name=name)
        self.watches[:] = [(self.clock.watch, 0)]
        try:
            self.loop.run_until_complete(task)
        except Stuck:
            self._halt("stuck")
        except Endless as error:
            self._halt("endless", str(error))
        except BaseException as error:  # an exit, out of a task
            self._failed(error)

    async def _stage(self) -> None:
        """Call the function, and await what it returns."""
        try:
            if not callable(self.function):
                raise NotAFunction(
                    f"The name holds {_what(self.function)}; expected a function."
                )
            returned = self.function(*self.calls.watched())
            self.awaitable = inspect.isawaitable(returned)
            self.result = await returned if self.awaitable else returned
        except (Stuck, Endless, GeneratorExit):
            raise
        except BaseException as error:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, Stop) and not self.over:
            self.exception = error
            let_go(error)

    def _complaint(self, loop: Any, context: dict[str, Any]) -> None:
        """Of what a loop complains of: a callback's error, which nobody can await."""
        error = context.get("exception")
        ours = "handle" in context and isinstance(error, Exception) and not self.over
        if ours and len(self.callback_errors) < MOST_CALLBACK_ERRORS:
            self.callback_errors.append(error)
            let_go(error)

    def _halt(self, why: str, after: str = "") -> None:
        """Note who waits, and at which line."""
        lane_of = self.clock.watch.lane_of
        waiting = [
            (lane_of.get(id(task), -1), _suspended_at(task))
            for task in asyncio.all_tasks(self.loop)
        ]
        self.halt = why, after, sorted(waiting, key=lambda x: x[0])

    def _cancel_all(self) -> None:
        """Cancel what is left, again if need be: a task may catch a cancellation."""
        self.loop.run_for(CLEANING)
        for _ in range(3):
            if tasks := asyncio.all_tasks(self.loop):
                for task in tasks:
                    task.cancel()
                with suppress(Stuck):
                    self.loop.run_until_complete(_ended(tasks))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())

    def _close_all(self) -> None:
        """End what would not be cancelled, here, where it can be stopped."""
        for task in asyncio.all_tasks(self.loop):
            with suppress(RuntimeError):
                task.get_coro().close()

    # In the thread that asked for the rehearsal.

    def passes_on(self, text: str) -> str:
        """The first 10,000 characters; no more are noted or shown."""
        if not isinstance(text, str):
            return text
        room = max(0, MOST_PRINTED - self.written)
        self.written += len(text)
        if len(text) <= room:
            return text
        return text[:room] + "\n(…)\n" if room else ""

    def _current(self) -> int | None:
        return self.clock.watch.current if self.clock.watch else None

    def _step(self) -> tuple[float, Any, int | None]:
        return self.clock(), self.clock.watch.log, self._current()

    def _close(self) -> None:
        """End the recording; what happens from now on is none of it."""
        self.over = True
        self.__exit__(type(self.exception) if self.exception else None)
        if self.halt:
            self.notes.outcome = PENDING
        calls = self.calls.noted(self.result)
        self.timeline.end(partial(self._tell, self.notes, calls))

    def _clean_up(self) -> None:
        """Leave no task, thread, socket or file behind."""
        for part in parts(self.result):
            if inspect.iscoroutine(part):
                part.close()  # or it would complain in a later cell
        for do in (self._cancel_all, self._close_all):
            self._as_stopped()
            work = Apart(do, at_last=self._close_loop)
            if not (work.ended(CLEANING + GRACE) or work.stop()):
                return
        self._close_loop()

    def _close_loop(self) -> None:
        self._as_stopped()
        self.loop.close()

    def _as_stopped(self) -> None:
        """A thread that was stopped may not have said that its loop has stopped."""
        self.loop._thread_id, self.loop._stopping = None, False

    def _tell(self, notes: Notes, calls: list[Noted]) -> Story:
        story, labels = tell(notes), names(notes)
        in_turn = sorted(story.lanes, key=lambda x: x.ended)
        turns = {lane.name: turn for turn, lane in enumerate(in_turn)}
        return replace(
            story,
            elapsed=exact(story.elapsed),
            lanes=tuple(_exactly(x, turns[x.name]) for x in story.lanes),
            loops=lambda: tuple(map(_exactly, story.loops())),
            blocked=tuple(
                x._replace(start=exact(x.start), end=exact(x.end))
                for x in story.blocked
            ),
            printed=tuple(x._replace(at=exact(x.at)) for x in story.printed),
            result=self.result,
            exception=self.exception,
            callback_errors=tuple(self.callback_errors),
            awaitable=self.awaitable,
            calls=tuple(_told(x, labels, notes) for x in calls),
            stopped=self._stopped(story, labels),
        )

    def _stopped(self, story: Story, labels: dict[Key, str]) -> Stopped | None:
        if self.halt is None:
            return None
        why, after, places = self.halt
        log = id(self.clock.watch.log)
        last = {x.name: x.intervals[-1] for x in story.lanes if x.intervals}
        who = []
        for name, place in [(labels.get((log, x), ""), y) for x, y in places]:
            waits = name in last and last[name].state == WAIT
            who.append((name, last[name].reason if waits else "", str(place or "")))
        return Stopped(why, after or f"{self.limit:.1f} s", tuple(who))


def _told(noted: Noted, labels: dict[Key, str], notes: Notes) -> Call:
    asked, end, needs = noted
    return Call(
        name=asked.name,
        lane=labels.get((id(asked.log), asked.lane), ""),
        start=exact(asked.start - notes.start),
        end=exact((notes.end if end is None else end) - notes.start),
        where=str(asked.where or ""),
        needs=needs,
    )


def exact(seconds: float) -> float:
    """Seconds to nine digits and a nanosecond, without the ticks of the clock."""
    return round(float(f"{seconds:.9g}"), 9)


def _exactly(lane: Lane, turn: int = 0) -> Lane:
    """A lane in exact seconds. What then has no length is left out, but for steps."""
    cut = (
        Interval(state, exact(start), exact(end), reason)
        for state, start, end, reason in lane.intervals
    )
    return replace(
        lane,
        born=exact(lane.born),
        ended=exact(lane.ended),
        intervals=tuple(x for x in cut if x.state == RUN or x.end > x.start),
        turn=turn,
    )


def _what(value: Any) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)


def _suspended_at(task: asyncio.Task[Any]) -> Place | None:
    """The innermost line of the learner's own code at which a task waits."""
    place, coroutine = None, task.get_coro()
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame and not frame.f_code.co_filename.startswith(LIBRARIES):
            place = Place(frame.f_code.co_filename, frame.f_lineno)
        coroutine = getattr(coroutine, "cr_await", None)
    return place
