"""What a watch notes of one loop, and how lanes are read from it.

The notes are flat lists of numbers, because they are taken thousands of times a second:

* ``steps``: four items for each thing that ran on the loop: the number of the task
  (None for a plain callback), begin, end, and what came after. For a task that is what
  it waits for; for a callback, what had caused it: a deadline and a word or a task.
* ``wakes``: two items for each task made ready: its number, and when.

Times are seconds of `time.perf_counter`. The lanes are read from the notes after the
recording, when it no longer disturbs anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import ref

from lessons_support.sampler import Place
from lessons_support.timeline import PENDING, READY, RUN, WAIT

AGAIN, ENDED, FUTURE = None, False, "future"
"""What comes after a step, besides a task's number and the code that waits."""

NAMED_BY_ASYNCIO = re.compile(r"Task-\d+")


@dataclass(slots=True)
class Life:
    """What is known of one task while it is watched; the task itself is not kept."""

    coroutine: str
    parent: int | None
    born: float
    hidden: bool = False
    name: str = ""
    ended: float | None = None
    outcome: str = PENDING
    task: ref[Any] | None = None

    @property
    def label(self) -> str:
        """The name that the program gave, or else the coroutine's."""
        given = self.name and not NAMED_BY_ASYNCIO.fullmatch(self.name)
        return self.name if given else self.function

    @property
    def function(self) -> str:
        """The coroutine's name without the function that it was defined in."""
        return self.coroutine.rpartition("<locals>.")[2]


@dataclass(slots=True)
class Log:
    """The notes on one loop.

    ``blocks`` are the steps over 50 ms, with the line that blocked; ``unseen`` are the
    tasks whose exception nobody had looked at when they were thrown away.
    """

    steps: list[Any] = field(default_factory=list)
    wakes: list[Any] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    blocks: list[tuple[int | None, float, float, Place | None]] = field(
        default_factory=list
    )
    unseen: list[int] = field(default_factory=list)


@dataclass(slots=True)
class View:
    """What one recording sees of a log: its steps so far, and the one under way.

    ``block`` is the task that runs the recording's block, ``running`` the task and the
    begin of the step under way, ``blocks`` and ``unseen`` as in `Log`.
    """

    log: Log
    upto: int
    block: int | None
    running: tuple[int | None, float]
    blocks: list[tuple[int | None, float, float, Place | None]]
    unseen: list[int]


@dataclass(slots=True)
class Stretch:
    """A span: its task is ``lane`` of ``log``, if it began inside one."""

    name: str
    start: float = 0.0
    end: float | None = None
    outcome: str = PENDING
    log: Log | None = None
    lane: int | None = None


class Words(NamedTuple):
    """What was written to a stream at once, often less than a line."""

    at: float
    thread: int
    log: Log | None
    lane: int | None
    text: str


Piece = tuple[str, float, float, Any]
"""A state, its start and end in seconds, and its reason as it was noted."""

Wake = tuple[float, Any]
"""Since when a task is ready, and who made it so: a task's number, or a word."""


@dataclass(slots=True)
class _Track:
    """One life being read: its pieces up to ``at``, and what it does from there."""

    at: float
    after: Any
    by: Any
    pieces: list[Piece] = field(default_factory=list)

    def add(self, state: str, end: float, reason: Any) -> None:
        if end > self.at:
            self.pieces.append((state, self.at, end, reason))
            self.at = end

    def rest(self, end: float, wake: Wake | None) -> None:
        """What lies between two steps: a wait and then ready, or ready alone."""
        if self.after is not AGAIN:
            ready, self.by = wake or (end, "")
            self.add(WAIT, min(ready, end), self.after)
        self.add(READY, end, self.by)


class Reader:
    """Reads the first ``upto`` items of a log's steps into the pieces of each life."""

    def __init__(self, log: Log, upto: int) -> None:
        self.log = log
        self.tracks = [_Track(x.born, AGAIN, x.parent) for x in log.lives]
        self.woken: dict[int, Wake] = {}
        self.wakes_read = 0
        self.where = {begin: place for _, begin, _, place in log.blocks}
        for index in range(0, upto, 4):
            self._step(index, *log.steps[index : index + 4])

    def _step(self, index: int, lane: int | None, begin: float, end: float, after: Any):
        self._wakes_during(lane, begin, end, after)
        if lane is None:
            return
        track = self.tracks[lane]
        track.rest(begin, self.woken.pop(lane, None))
        where = self.where.get(begin, "")
        for start, stop in self._inside(index, begin, end):
            track.add(RUN, start, where)
            track.add(READY, stop, "")
        track.add(RUN, end, where)
        track.after, track.by = after, ""

    def _wakes_during(
        self, lane: int | None, begin: float, end: float, cause: Any
    ) -> None:
        """Who was made ready by what ran from begin to end, and since when.

        A task that a timer wakes should have run from the timer's deadline on, however
        late the loop came to look at its timers.
        """
        wakes, due, by = self.log.wakes, 0.0, lane
        if lane is None:
            due, by = cause or (0.0, "")
        while self.wakes_read < len(wakes) and wakes[self.wakes_read + 1] <= end:
            sleeper, at = wakes[self.wakes_read : self.wakes_read + 2]
            known = at >= begin
            self.woken[sleeper] = (due or at, by) if known else (at, "")
            self.wakes_read += 2

    def _inside(
        self, index: int, begin: float, end: float
    ) -> list[tuple[float, float]]:
        """The steps that ran inside this one: eager tasks, or a nested loop."""
        steps, inside, earliest = self.log.steps, [], end
        for i in range(index - 4, -1, -4):
            if steps[i + 1] < begin:
                break
            if steps[i + 1] < earliest:
                earliest = steps[i + 1]
                inside.append((earliest, steps[i + 2]))
        return inside[::-1]

    def pieces(
        self, lane: int, end: float, running: tuple[int | None, float]
    ) -> list[Piece]:
        """One life's pieces up to ``end``, given the step that is under way there."""
        track, life = self.tracks[lane], self.log.lives[lane]
        if life.ended is None or life.ended > end:
            now, since = running
            track.rest(since if lane == now else end, self.woken.get(lane))
            track.add(RUN, end, "")
        return track.pieces
