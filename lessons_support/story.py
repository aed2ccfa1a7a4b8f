"""From the notes of a recording to its story: names, reasons in words, seconds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from lessons_support.log import Log, Piece, Reader, Stretch, View, Words
from lessons_support.timeline import (
    BEFORE,
    BLOCK,
    BLOCKED_AFTER,
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
}
"""What a reader calls a function of asyncio, where its own name is another."""


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


class _Teller:
    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.names = self._names()

    def story(self) -> Story:
        notes = self.notes
        lanes = dict(self._task_lanes())
        spans = [self._span_lane(x, lanes) for x in notes.stretches]
        return Story(
            elapsed=self._seconds(notes.end),
            lanes=_below_parents([*lanes.values(), *spans]),
            loops=tuple(self._loop_lanes()),
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
                if lane == view.block or not (life.hidden or gone or late):
                    yield view, lane

    def _names(self) -> dict[Key, str]:
        """A name for each life: the second fetch is called "fetch (2)"."""
        names: dict[Key, str] = {}
        self.taken: Counter[str] = Counter()
        for view, lane in self._seen():
            life = view.log.lives[lane]
            label = "cell" if life.hidden else life.label
            names[id(view.log), lane] = self._unique(label)
        return names

    def _unique(self, name: str) -> str:
        self.taken[name] += 1
        count = self.taken[name]
        return name if count == 1 else f"{name} ({count})"

    def _name(self, log: Log | None, lane: int | None, default: Any = None) -> Any:
        return self.names.get((id(log), lane), default)

    def _task_lanes(self) -> Iterator[tuple[Key, Lane]]:
        readers = {id(x): Reader(x.log, x.upto) for x in self.notes.views}
        for view, number in self._seen():
            pieces = readers[id(view)].pieces(number, self.notes.end, view.running)
            yield (id(view.log), number), self._lane(view, number, pieces)

    def _lane(self, view: View, number: int, pieces: list[Piece]) -> Lane:
        life, notes = view.log.lives[number], self.notes
        over = life.ended is not None and life.ended <= notes.end
        kind, outcome = TASK, life.outcome if over else PENDING
        if life.born < notes.start:
            kind = BEFORE
        if number == view.block:
            kind, outcome = BLOCK, notes.outcome
        return Lane(
            name=self._name(view.log, number),
            parent=self._name(view.log, life.parent),
            born=self._seconds(life.born),
            ended=self._seconds(life.ended if over else notes.end),
            outcome=outcome,
            intervals=tuple(self._intervals(view.log, pieces)),
            kind=kind,
            coroutine=life.function,
        )

    def _intervals(self, log: Log, pieces: list[Piece]) -> Iterator[Interval]:
        """The pieces within the recording, in seconds; neighbours share their float."""
        at = None
        for state, start, end, reason in pieces:
            if end <= self.notes.start or start >= self.notes.end:
                continue
            start_s = self._seconds(start) if at is None else at
            at = self._seconds(end)
            yield Interval(state, start_s, at, self._reason(log, state, reason))

    def _reason(self, log: Log, state: str, reason: Any) -> str:
        if type(reason) is CodeType:
            name = reason.co_qualname
            return IN_PLAIN_WORDS.get(name, name.lstrip("_"))
        if type(reason) is int:
            name = self._name(log, reason, "")
            return f"task {name}".rstrip() if state == WAIT else name
        return str(reason or "")

    def _span_lane(self, stretch: Stretch, lanes: dict[Key, Lane]) -> Lane:
        """A span shows what its task did meanwhile; elsewhere it counts as running."""
        end = self.notes.end if stretch.end is None else stretch.end
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
            outcome=stretch.outcome if stretch.end else PENDING,
            intervals=tuple(intervals),
            kind=SPAN,
        )

    def _loop_lanes(self) -> Iterator[Lane]:
        for number, view in enumerate(self.notes.views, 1):
            name = "event loop" if number == 1 else f"event loop ({number})"
            intervals, at = [], 0.0
            for start, end, lane in self._ran(view):
                if start > at:
                    intervals.append(Interval(WAIT, at, start))
                who = self._name(view.log, lane, "")
                intervals.append(Interval(RUN, max(start, at), end, who))
                at = end
            elapsed = self._seconds(self.notes.end)
            if at < elapsed:
                intervals.append(Interval(WAIT, at, elapsed))
            yield Lane(name, None, 0.0, elapsed, OK, tuple(intervals), LOOP)

    def _ran(self, view: View) -> list[tuple[float, float, int | None]]:
        """What ran on the loop, one after another, without what ran inside it."""
        notes, steps, ran = self.notes, view.log.steps, []
        for i in range(0, view.upto, 4):
            lane, begin, end = steps[i : i + 3]
            if end <= notes.start or begin >= notes.end or begin == end:
                continue
            while ran and ran[-1][0] >= self._seconds(begin) and begin >= notes.start:
                ran.pop()
            ran.append((self._seconds(begin), self._seconds(end), lane))
        lane, since = view.running
        if since:
            ran.append((self._seconds(since), self._seconds(notes.end), lane))
        return ran

    def _blocked(self) -> Iterator[Blocked]:
        """The steps that blocked the loop, but for the kernel's own."""
        for view in self.notes.views:
            for lane, begin, end, place in view.blocks:
                name = self._name(view.log, lane, "")
                start, stop = self._seconds(begin), self._seconds(end)
                if stop - start > BLOCKED_AFTER and (name or (lane is None and place)):
                    yield Blocked(name, start, stop, str(place or ""))

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
