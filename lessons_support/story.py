"""From the notes of a recording to its story: names, reasons in words, seconds."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import repeat
from types import CodeType
from typing import Any

from lessons_support.log import Log, Stretch, View, Words
from lessons_support.reader import Reader
from lessons_support.timeline import (
    BEFORE,
    BLOCK,
    BLOCKED_AFTER,
    FIRST_LOOP,
    LOOP,
    OK,
    PENDING,
    RUN,
    SPAN,
    TASK,
    WAIT,
    Blocked,
    Interval,
    Lane,
    Printed,
    Story,
)

IN_PLAIN_WORDS = {
    "TaskGroup.__aexit__": "TaskGroup",
    "Barrier.__aenter__": "Barrier.wait",
    "as_completed.<locals>._wait_for_one": "as_completed",
    "_AsCompletedIterator._wait_for_one": "as_completed",
    "AsyncIOBackend.run_sync_in_worker_thread": "thread",
}
"""What a reader calls a function that waits, where its own name is another."""

PLUMBING = "anyio._"
"""So begin the names of the tasks by which an HTTP client opens a connection."""


@dataclass(slots=True)
class Notes:
    """All that one recording has noted; times by `time.perf_counter`."""

    start: float = 0.0
    end: float = 0.0
    outcome: str = OK
    views: list[View] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)
    never_awaited: list[str] = field(default_factory=list)


Key = tuple[int, int]
"""One life among several logs: the log's id and the life's number."""


def tell(notes: Notes) -> Story:
    """Read a recording's notes."""
    return _Teller(notes).story()


def names(notes: Notes) -> dict[Key, str]:
    """What each life of a recording is called."""
    return _Teller(notes).names


class _Teller:
    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.loops = {id(x.log): _loop(n) for n, x in enumerate(notes.views)}
        self.names = self._names()

    def story(self) -> Story:
        notes = self.notes
        readers = [self._reader(view) for view in notes.views]
        groups = [self._task_lanes(reader) for reader in readers]
        lanes = {key: lane for group in groups for key, lane in group.items()}
        spans = [self._span_lane(x, lanes) for x in notes.stretches]
        elapsed = self._seconds(notes.end)
        ran = [
            (tuple(group.values()), reader.others)
            for group, reader in zip(groups, readers, strict=True)
        ]
        return Story(
            elapsed=elapsed,
            lanes=_below_parents([*lanes.values(), *spans]),
            loops=lambda: tuple(_loop_lanes(elapsed, ran)),
            blocked=tuple(sorted(self._blocked(), key=lambda x: x.start)),
            printed=tuple(self._printed()),
            never_awaited=tuple(notes.never_awaited),
            never_retrieved=tuple(self._never_retrieved()),
        )

    def _seconds(self, when: float) -> float:
        return min(max(when, self.notes.start), self.notes.end) - self.notes.start

    def _seen(self) -> Iterator[tuple[View, int]]:
        """The lives that the recording shows, by the time of their birth."""
        for view in self.notes.views:
            for lane, life in enumerate(view.log.lives):
                gone = life.ended is not None and life.ended < self.notes.start
                late = life.born > self.notes.end
                hidden = life.hidden or life.name.startswith(PLUMBING)
                if lane == view.block or not (hidden or gone or late):
                    yield view, lane

    def _names(self) -> dict[Key, str]:
        """A name for each life: the second fetch is called "fetch (2)"."""
        names: dict[Key, str] = {}
        self.taken: dict[str, int] = {}
        for view, lane in self._seen():
            life = view.log.lives[lane]
            label = "cell" if life.hidden else life.label
            names[id(view.log), lane] = self._unique(label)
        return names

    def _unique(self, name: str) -> str:
        label = name
        while label in self.taken:  # perhaps because a task was given such a name
            self.taken[name] += 1
            label = f"{name} ({self.taken[name]})"
        self.taken[label] = 1
        return label

    def _name(self, log: Log | None, lane: int | None, default: Any = None) -> Any:
        return self.names.get((id(log), lane), default)

    def _reader(self, view: View) -> Reader:
        notes, log = self.notes, view.log
        wait = cache(lambda noted: self._waited_for(log, noted))
        by = cache(lambda noted: self._named(log, noted))
        seen = [lane for its_view, lane in self._seen() if its_view is view]
        return Reader(view, seen, notes.start, notes.end, wait, by)

    def _task_lanes(self, reader: Reader) -> dict[Key, Lane]:
        view = reader.view
        return {
            (id(view.log), number): self._lane(view, number, reader.intervals(number))
            for its_view, number in self._seen()
            if its_view is view
        }

    def _lane(self, view: View, number: int, cut: tuple[Interval, ...]) -> Lane:
        life, notes = view.log.lives[number], self.notes
        kind, outcome = TASK, life.outcome if life.over(notes.end) else PENDING
        if life.born < notes.start:
            kind = BEFORE
        if number == view.block:
            kind, outcome = BLOCK, notes.outcome
        return Lane(
            name=self._name(view.log, number),
            parent=self._name(view.log, life.parent),
            born=self._seconds(life.born),
            ended=self._seconds(notes.end if life.ended is None else life.ended),
            outcome=outcome,
            intervals=cut,
            kind=kind,
            coroutine=life.function,
            loop=self.loops[id(view.log)],
        )

    def _named(self, log: Log, noted: Any) -> str:
        """The task of that number, or the word that was noted."""
        return self._name(log, noted, "") if type(noted) is int else noted or ""

    def _waited_for(self, log: Log, noted: Any) -> str:
        if type(noted) is CodeType:
            name = noted.co_qualname
            return IN_PLAIN_WORDS.get(name, name.lstrip("_"))
        name = self._named(log, noted)
        return f"task {name}".rstrip() if type(noted) is int else name

    def _span_lane(self, stretch: Stretch, lanes: dict[Key, Lane]) -> Lane:
        """A span shows what its task did meanwhile; elsewhere it counts as running."""
        over = stretch.end is not None and stretch.end <= self.notes.end
        end = stretch.end if over else self.notes.end
        born, ended = self._seconds(stretch.start), self._seconds(end)
        task = lanes.get((id(stretch.log), stretch.lane))
        intervals = [Interval(RUN, born, ended)]
        if task is not None:
            intervals = [
                i._replace(start=max(i.start, born), end=min(i.end, ended))
                for i in task.intervals
                if i.end > born and i.start < ended
            ]
        return Lane(
            name=self._unique(stretch.name),
            parent=task.name if task else None,
            born=born,
            ended=ended,
            outcome=stretch.outcome if over else PENDING,
            intervals=tuple(intervals),
            kind=SPAN,
            loop=task.loop if task else "",
        )

    def _blocked(self) -> Iterator[Blocked]:
        """The steps that blocked the loop, but for the kernel's own."""
        for view in self.notes.views:
            for lane, begin, end, place in view.blocks:
                name = self._name(view.log, lane, "")
                start, stop = self._seconds(begin), self._seconds(end)
                if stop - start > BLOCKED_AFTER and (name or (lane is None and place)):
                    loop = self.loops[id(view.log)]
                    yield Blocked(name, start, stop, str(place or ""), loop)

    def _printed(self) -> list[Printed]:
        """The lines, put together from what was written bit by bit."""
        begun: dict[Any, tuple[float, str]] = {}
        lines: list[Printed] = []
        for at, thread, log, lane, text in self.notes.words:
            who = thread, id(log), lane
            since, kept = begun.pop(who, (at, ""))
            *whole, rest = (kept + text).split("\n")
            name = self._name(log, lane, "")
            for line in whole:
                lines.append(Printed(self._seconds(since), name, line))
                since = at
            if rest:
                begun[who] = since, rest
        for (_, log, lane), (since, rest) in begun.items():
            name = self.names.get((log, lane), "")
            lines.append(Printed(self._seconds(since), name, rest))
        return sorted(lines, key=lambda x: x.at)

    def _never_retrieved(self) -> Iterator[str]:
        for view in self.notes.views:
            for lane in view.unseen:
                if name := self._name(view.log, lane):
                    yield name


def _below_parents(lanes: list[Lane]) -> tuple[Lane, ...]:
    """Each lane below the one that started it, in the order of their births."""
    children: defaultdict[str | None, list[Lane]] = defaultdict(list)
    for lane in sorted(lanes, key=lambda x: x.born):
        children[lane.parent].append(lane)
    ordered: list[Lane] = []
    waiting = children[None][::-1]
    while waiting:
        lane = waiting.pop()
        ordered.append(lane)
        waiting += children[lane.name][::-1]
    return tuple(ordered)


def _loop(number: int) -> str:
    """What the event loops are called: the first one is that of the block."""
    return f"{FIRST_LOOP} ({number + 1})" if number else FIRST_LOOP


def _loop_lanes(
    elapsed: float, ran: list[tuple[tuple[Lane, ...], array[float]]]
) -> Iterator[Lane]:
    """A lane for each loop, from the lanes of its tasks and what else it ran."""
    for number, (lanes, others) in enumerate(ran):
        intervals, at = [], 0.0
        for start, end, who in _in_turn(lanes, others):
            if end > at:
                if start > at:
                    intervals.append(Interval(WAIT, at, start))
                intervals.append(Interval(RUN, max(start, at), end, who))
                at = end
        if at < elapsed:
            intervals.append(Interval(WAIT, at, elapsed))
        yield Lane(_loop(number), None, 0.0, elapsed, OK, tuple(intervals), LOOP)


def _in_turn(
    lanes: tuple[Lane, ...], others: array[float]
) -> list[tuple[float, float, str]]:
    """What a loop ran: from, to, and the task's name ("" for all others)."""
    ran = [
        (i.start, i.end, lane.name)
        for lane in lanes
        for i in lane.intervals
        if i.state == RUN
    ]
    ran += zip(others[::2], others[1::2], repeat(""))
    return sorted(ran)
