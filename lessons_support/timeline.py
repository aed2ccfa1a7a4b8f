"""What a group of tasks did, moment by moment: frozen data, and questions about it.

A timeline is a set of lanes. A lane is one task (or a span, or the event loop itself)
cut into intervals, and each interval is in one of three states:

* ``run``    a step of the task is on the event loop;
* ``ready``  the task could run, but something else is running;
* ``wait``   the task waits for something, and the interval says for what.

This module knows nothing of asyncio: whoever watched writes a timeline, whoever draws
or judges reads it. Every time is in seconds from the start of the recording.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

RUN, READY, WAIT = "run", "ready", "wait"
STATES = (RUN, READY, WAIT)

OK, CANCELLED, PENDING = "ok", "cancelled", "pending"  # or an exception's class name
TASK, BLOCK, BEFORE, SPAN, LOOP = "task", "block", "before", "span", "loop"
FIRST_LOOP = "event loop"

BLOCKED_AFTER = 0.05
"""A step longer than this, in seconds, has kept everybody else from running."""

FOR_OTHER_TASKS = frozenset(
    {
        "gather",
        "wait",
        "wait_for",
        "as_completed",
        "shield",
        "TaskGroup",
        "Lock.acquire",
        "Event.wait",
        "Condition.wait",
        "Condition.wait_for",
        "Semaphore.acquire",
        "Barrier.wait",
        "Queue.get",
        "Queue.put",
        "Queue.join",
    }
)
"""Reasons that wait for other tasks of the program, as does "task NAME".

All other waits are for the world outside: a timer, a socket, a thread.
"""


class Interval(NamedTuple):
    """A stretch of one lane in one state, from ``start`` to ``end`` (seconds).

    The reason of a wait is what is waited for: ``sleep``, ``Queue.get``, ``task tea``.
    The reason of a ready stretch is who made it ready: a lane's name, or ``timer``.
    The reason of a run is the line that blocked the loop, if it did.
    """

    state: str
    start: float
    end: float
    reason: str = ""

    @property
    def for_outside(self) -> bool:
        """Whether this is a wait for something outside the program's own tasks."""
        return (
            self.state == WAIT
            and self.reason not in FOR_OTHER_TASKS
            and not self.reason.startswith("task ")
        )


class Printed(NamedTuple):
    """A line that was printed: when (seconds), on which lane ("" if none), the text."""

    at: float
    lane: str
    text: str


class Blocked(NamedTuple):
    """A step that kept the loop from everybody else for longer than 50 ms.

    ``lane`` is the culprit's name ("" for a plain callback), ``where`` the line that
    blocked: its code and its file or cell, or "" where it could not be seen. ``loop``
    is the name of the event loop's lane.
    """

    lane: str
    start: float
    end: float
    where: str
    loop: str = ""


class Call(NamedTuple):
    """One call of an async function that a rehearsed function was given.

    ``lane`` is the task that ran it, from ``start`` to ``end`` (seconds); ``where`` the
    line that called, if it began right then. ``needs`` are the numbers of the earlier
    calls that it may have had to wait for, as something may have been passed on.
    """

    name: str
    lane: str
    start: float
    end: float
    where: str
    needs: tuple[int, ...] = ()


class Stopped(NamedTuple):
    """Why a rehearsal was stopped: nobody could go on, or somebody went on for ever.

    ``why`` is "stuck", "endless" (it awaited again and again), "busy" (it computed) or
    "unstoppable"; ``after`` the limit that was reached, as in "5.0 s"; ``who`` the
    lanes concerned, each with what it waited for ("" if it ran) and the line it was at.
    """

    why: str
    after: str
    who: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Lane:
    """One task from birth to end, in intervals that follow each other without a gap.

    ``kind`` is "task"; "block" for the task that runs the recording's own ``with``
    block; "before" for a task that existed when the recording began; "span" for a
    stretch named by ``span``; "loop" for the event loop. ``outcome`` is "ok",
    "cancelled", "pending", or the class name of the exception that ended it. A
    pending lane goes on after ``ended``, where the recording stops. Of lanes that end
    at the same moment, the one with the lower ``turn`` was first. ``loop`` is the name
    of the event loop that runs it, "" for none.
    """

    name: str
    parent: str | None
    born: float
    ended: float
    outcome: str
    intervals: tuple[Interval, ...]
    kind: str = TASK
    coroutine: str = ""
    turn: int = 0
    loop: str = ""

    def seconds(self, *states: str) -> float:
        """How long the lane was in any of these states, in seconds."""
        for state in states:
            if state not in STATES:
                raise ValueError(f"a state is {', '.join(STATES)}; got {state!r}")
        return sum(i.end - i.start for i in self.intervals if i.state in states)


@dataclass(frozen=True, slots=True)
class Story:
    """All that a recording holds; a `Timeline` answers questions from it.

    The loops' lanes repeat what the tasks' lanes say, so they are made when asked for.
    """

    elapsed: float
    lanes: tuple[Lane, ...] = ()
    loops: Callable[[], tuple[Lane, ...]] = tuple
    blocked: tuple[Blocked, ...] = ()
    printed: tuple[Printed, ...] = ()
    never_awaited: tuple[str, ...] = ()
    never_retrieved: tuple[str, ...] = ()
    result: Any = None
    exception: BaseException | None = None
    callback_errors: tuple[Exception, ...] = ()
    awaitable: bool = True
    calls: tuple[Call, ...] = ()
    stopped: Stopped | None = None


class Timeline:
    """What happened during a recording. It can be asked once the recording has ended.

    A question about a task that never existed answers no: ``None``, ``0.0`` or ``()``.
    """

    def __init__(self, tell: Callable[[], Story] | None = None) -> None:
        self._tell = tell

    def end(self, tell: Callable[[], Story]) -> None:
        """Close the recording; ``tell`` is called at the first question, and once."""
        self._tell = tell

    @cached_property
    def _story(self) -> Story:
        if self._tell is None:
            raise RuntimeError(
                "this timeline is still being recorded: "
                "ask it after the `with record()` block"
            )
        story, self._tell = self._tell(), None
        return story

    @property
    def elapsed(self) -> float:
        """How long the recording lasted, in seconds."""
        return self._story.elapsed

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes of tasks and spans: each below the one that started it."""
        return self._story.lanes

    @cached_property
    def loops(self) -> tuple[Lane, ...]:
        """The event loops' lanes: ``run`` with the name of what ran, or ``wait``."""
        return self._story.loops()

    @property
    def blocked(self) -> tuple[Blocked, ...]:
        """The steps that kept the loop for longer than 50 ms, in order."""
        return self._story.blocked

    @property
    def printed(self) -> tuple[Printed, ...]:
        """The lines that were printed, in order."""
        return self._story.printed

    @property
    def never_awaited(self) -> tuple[str, ...]:
        """Coroutines that were made by a call and never awaited, by name."""
        return self._story.never_awaited

    @property
    def never_retrieved(self) -> tuple[str, ...]:
        """Tasks that failed with an exception that nobody looked at, by name."""
        return self._story.never_retrieved

    @property
    def left_over(self) -> tuple[str, ...]:
        """Tasks begun during the recording and still not done at its end, by name."""
        return tuple(x.name for x in self._tasks if x.outcome == PENDING)

    @property
    def result(self) -> Any:
        """What the rehearsed function returned, or None."""
        return self._story.result

    @property
    def exception(self) -> BaseException | None:
        """What the rehearsed function raised, or None."""
        return self._story.exception

    @property
    def callback_errors(self) -> tuple[Exception, ...]:
        """What callbacks raised during a rehearsal: the first few, in order."""
        return self._story.callback_errors

    @property
    def awaitable(self) -> bool:
        """Whether what the rehearsed function gave back could be awaited."""
        return self._story.awaitable

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls of the async functions that a rehearsed function was given."""
        return self._story.calls

    @property
    def stopped(self) -> Stopped | None:
        """Why the rehearsal did not come to its end, or None if it did."""
        return self._story.stopped

    @property
    def findings(self) -> tuple[str, ...]:
        """What the recording shows, in plain sentences."""
        from lessons_support.findings import findings  # it reads this module

        return findings(self)

    @property
    def _tasks(self) -> Iterator[Lane]:
        return (x for x in self.lanes if x.kind == TASK)

    def lane(self, name: str) -> Lane | None:
        """The lane of that name, or None."""
        return next((x for x in self.lanes if x.name == name), None)

    def overlap(self, one: str, other: str) -> float:
        """How long two lanes were under way at the same time, in seconds.

        Under way means running or waiting. A lane that is ready is held up, so two
        tasks that block the loop in turn do not overlap.
        """
        ours, theirs = self.lane(one), self.lane(other)
        if ours is None or theirs is None:
            return 0.0
        return _shared(_under_way(ours), _under_way(theirs))

    def order(self) -> list[str]:
        """The names of the tasks and spans that ended, in the order of their ends."""
        done = [
            x for x in self.lanes if x.kind in (TASK, SPAN) and x.outcome != PENDING
        ]
        return [x.name for x in sorted(done, key=lambda x: (x.ended, x.turn))]

    @property
    def most_in_flight(self) -> int:
        """The most tasks that waited for the outside world at the same moment."""
        changes = []
        for lane in self.lanes:
            if lane.kind == SPAN:
                continue
            for i in lane.intervals:
                if i.for_outside and i.end > i.start:
                    changes += [(i.start, 1), (i.end, -1)]
        most = now = 0
        for _, change in sorted(changes):
            now += change
            most = max(most, now)
        return most

    @property
    def longest_step(self) -> float:
        """The longest single stretch that one task kept the loop, in seconds."""
        runs = (
            i.end - i.start
            for x in self.lanes
            if x.kind != SPAN
            for i in x.intervals
            if i.state == RUN
        )
        return max(runs, default=0.0)

    def save_trace(self, path: str | PathLike[str]) -> None:
        """Write the timeline as Trace Event JSON, which opens in ui.perfetto.dev.

        One track a lane; times in microseconds. Format: "Trace Event Format", Google.
        """
        events: list[dict[str, Any]] = []
        for track, lane in enumerate((*self.loops, *self.lanes)):
            where = {"pid": 1, "tid": track}
            for key, arg in (
                ("thread_name", {"name": f"{lane.name} ({lane.outcome})"}),
                ("thread_sort_index", {"sort_index": track}),
            ):
                events.append({"ph": "M", "name": key, "args": arg, **where})
            for state, start, end, reason in lane.intervals:
                what = f"{state}: {reason}" if reason else state
                span = {"ts": start * 1e6, "dur": (end - start) * 1e6, "cat": state}
                events.append({"ph": "X", "name": what, **span, **where})
        Path(path).write_text(json.dumps({"traceEvents": events}), encoding="utf-8")

    def __repr__(self) -> str:
        if "_story" not in self.__dict__ and self._tell is None:
            return "<Timeline: still recording>"
        lanes = len(self.lanes)
        return f"<Timeline: {lanes} lane{'s' * (lanes != 1)}, {self.elapsed:.1f} s>"


Stretch = tuple[float, float]


def _under_way(lane: Lane) -> list[Stretch]:
    return [(i.start, i.end) for i in lane.intervals if i.state != READY]


def _shared(ours: list[Stretch], theirs: list[Stretch]) -> float:
    """The length of what two sorted lists of (start, end) have in common."""
    total, a, b = 0.0, 0, 0
    while a < len(ours) and b < len(theirs):
        start = max(ours[a][0], theirs[b][0])
        end = min(ours[a][1], theirs[b][1])
        total += max(0.0, end - start)
        if ours[a][1] < theirs[b][1]:
            a += 1
        else:
            b += 1
    return total
