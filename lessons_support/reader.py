"""From the notes on one loop to the intervals of each task."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from lessons_support.log import AGAIN, View
from lessons_support.timeline import READY, RUN, WAIT, Interval

Wake = tuple[float, Any]
"""Since when a task is ready, and who made it so: a task's number, or a word."""

Word = Callable[[Any], str]
"""What a reader calls what was noted: code of asyncio, a task's number, a word."""

Steps = Sequence[tuple[float, float]]
"""The begin and end of each, in order."""

NEVER = float("inf")


class Reader:
    """Reads what a recording from ``start`` to ``end`` sees of one loop.

    ``others`` is, in pairs of seconds, when the loop ran what has no lane: plain
    callbacks, and tasks that are not ``seen``.
    """

    def __init__(
        self,
        view: View,
        seen: list[int],
        start: float,
        end: float,
        wait: Word,
        by: Word,
    ) -> None:
        self.view, self.log = view, view.log
        self.start, self.end = start, end
        self.tracks: list[_Track | None] = [None] * len(self.log.lives)
        for lane in seen:
            life = self.log.lives[lane]
            self.tracks[lane] = _Track(life.born, life.parent, start, end, wait, by)
        self.others = array("d")
        self.woken: dict[int, Wake] = {}
        self.wakes_read = 0
        self.where = {since: str(place or "") for _, since, _, place in view.blocks}
        self._read()
        self._stop(*view.running)

    def intervals(self, lane: int) -> tuple[Interval, ...]:
        """What a task did, from its birth or the recording's start on."""
        return tuple(self.tracks[lane].intervals)

    def _read(self) -> None:
        items = islice(self.log.steps, self.view.upto)
        next_wake, before = self._next_wake(), 0.0
        steps = zip(items, items, items, items, strict=True)
        for number, (lane, begin, end, after) in enumerate(steps):
            if next_wake <= end:
                next_wake = self._wakes_during(lane, begin, end, after)
            inside = self._inside(number, begin, end) if before >= begin else ()
            before = begin
            if inside:
                self._wakes_around(lane, begin)
            self._ran(lane, begin, end, after, inside)

    def _stop(self, now: int | None, since: float) -> None:
        """The recording ends, within the step under way (``since`` 0.0: in none)."""
        if since:
            self._wakes_during(now, since, self.end, None)
            inside = self._inside(self.view.upto // 4, since, self.end)
            self._wakes_around(now, since)
            self._ran(now, since, self.end, AGAIN, inside)
        for lane, track in enumerate(self.tracks):
            ended = self.log.lives[lane].ended
            if track and (ended is None or ended > self.end):
                track.rest(self.end, self.woken.get(lane))

    def _ran(
        self, lane: int | None, begin: float, end: float, after: Any, inside: Steps
    ) -> None:
        track = None if lane is None else self.tracks[lane]
        if track is None:
            self._other(begin, end)
            return
        track.rest(begin, self.woken.pop(lane, None))
        where = self.where.get(begin, "")
        for start, stop in inside:
            track.add(RUN, start, where)
            track.add(READY, stop, "")
        track.add(RUN, end, where)
        track.after, track.maker = after, None

    def _other(self, begin: float, end: float) -> None:
        begin, end = max(begin, self.start), min(end, self.end)
        if end > begin:
            self.others.extend((begin - self.start, end - self.start))

    def _next_wake(self) -> float:
        wakes, at = self.log.wakes, self.wakes_read + 1
        return wakes[at] if at < len(wakes) else NEVER

    def _wakes_during(
        self, lane: int | None, begin: float, end: float, cause: Any
    ) -> float:
        """Who was made ready by what ran from begin to end, and since when.

        A task that a timer wakes should have run from the timer's deadline on, however
        late the loop came to look at its timers.
        """
        due, maker = (cause or (0.0, "")) if lane is None else (0.0, lane)
        at = self._next_wake()
        while at <= end:
            known = at >= begin
            sleeper = self.log.wakes[self.wakes_read]
            self.woken[sleeper] = (due or at, maker) if known else (at, "")
            self.wakes_read += 2
            at = self._next_wake()
        return at

    def _wakes_around(self, lane: int | None, begin: float) -> None:
        """Who was made ready in this step before another one ran inside it."""
        for sleeper, (at, maker) in self.woken.items():
            if maker == "" and at >= begin:
                self.woken[sleeper] = at, "" if lane is None else lane

    def _inside(self, number: int, begin: float, end: float) -> Steps:
        """The steps that ran inside this one: eager tasks, or a nested loop."""
        steps, inside, earliest = self.log.steps, [], end
        for i in range(4 * number - 4, -1, -4):
            if steps[i + 1] < begin:
                break
            if steps[i + 1] < earliest:
                earliest = steps[i + 1]
                inside.append((earliest, steps[i + 2]))
        return inside[::-1]


class _Track:
    """One life being read: its intervals up to ``at``, and what it does from there."""

    __slots__ = (
        "after",
        "at",
        "by",
        "end",
        "intervals",
        "maker",
        "seconds",
        "start",
        "wait",
    )

    def __init__(
        self,
        born: float,
        parent: int | None,
        start: float,
        end: float,
        wait: Word,
        by: Word,
    ) -> None:
        self.start, self.end = start, end
        self.wait, self.by = wait, by
        self.at = max(born, start)
        self.seconds = self.at - start
        self.after, self.maker = AGAIN, parent
        self.intervals: list[Interval] = []

    def add(self, state: str, until: float, reason: str) -> None:
        """Go on to a moment; neighbours share the number of seconds between them."""
        if until > self.at:
            self.at = until = min(until, self.end)
            since, self.seconds = self.seconds, until - self.start
            self.intervals.append(Interval(state, since, self.seconds, reason))

    def rest(self, until: float, wake: Wake | None) -> None:
        """What lies between two steps: a wait and then ready, or ready alone."""
        if self.after is not AGAIN:
            ready, self.maker = wake or (until, None)
            self.add(WAIT, min(ready, until), self.wait(self.after))
        self.add(READY, until, self.by(self.maker))
