"""A timeline in words: for a terminal, a screen reader, a diff, and under a chart.

The words are the same each time the same program runs. A step may come late, never
early, so a moment is "1.0 s" from 20 ms before that second until 80 ms after it, and
what begins and ends at the same such moment, or lasts under 50 ms, is left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import islice
from reprlib import Repr
from textwrap import shorten
from typing import Any

from lessons_support.timeline import (
    BLOCK,
    CANCELLED,
    OK,
    PENDING,
    READY,
    RUN,
    SPAN,
    TASK,
    WAIT,
    Interval,
    Lane,
    Timeline,
)

LANES_IN_FULL, STRETCHES_IN_FULL, PRINTED_IN_FULL = 40, 8, 40
MOST_GROUPS, MOST_FAILED, MANY_STEPS = 20, 10, 1_000
LONGEST_MESSAGE = 200
TOO_SHORT = 0.05
LONG_WAIT = 0.19  # a wait of 0.2 is longer, one of 0.1 shorter, even if it ends late


class _InOrder(Repr):
    """Shortened values; the keys of a dictionary stay in their order."""

    def repr_dict(self, given: dict[Any, Any], level: int) -> str:
        if level <= 0 and given:
            return "{...}"
        shown = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}"
            for key, value in islice(given.items(), self.maxdict)
        ]
        more = ["..."] * (len(given) > self.maxdict)
        return "{" + ", ".join(shown + more) + "}"


SHORT = _InOrder()
SHORT.maxlist = SHORT.maxtuple = SHORT.maxdict = 8
SHORT.maxstring = 60
ENDS = {OK: "done", CANCELLED: "cancelled", PENDING: "not done"}


@dataclass(frozen=True, slots=True)
class Row:
    """What stands beside one label: a lane, or many lanes of the same coroutine."""

    label: str
    depth: int
    lanes: tuple[Lane, ...]


def describe(timeline: Timeline) -> list[str]:
    """The lines that tell the timeline: its length, lanes, output and findings."""
    told = rows(timeline, LANES_IN_FULL)
    return [
        headline(timeline),
        *lanes_in_words(told),
        *counted(timeline, told),
        *_printed(timeline),
        *findings(timeline),
    ]


def headline(timeline: Timeline) -> str:
    """How long the recording lasted and what it holds, as in "2.0 s, 2 tasks"."""
    kinds = Counter(lane.kind for lane in timeline.lanes)
    length = clock(timeline.elapsed) or "under 0.1 s"
    counts = [many(kinds[k], k) for k in (TASK, SPAN) if kinds[k]]
    return ", ".join([length, *(counts or ["no tasks"]), *_returned(timeline.result)])


def _returned(result: Any) -> list[str]:
    """What a rehearsed function gave back, if its words are the same each time."""
    if not _is_plain(result):
        return []
    told = SHORT.repr(result)
    return [f"returned {told if len(told) <= 120 else told[:117] + '...'}"]


def _is_plain(value: Any, depth: int = 3) -> bool:
    """Whether a value is a text, a number or a collection of such; None is neither."""
    kind = type(value)
    if kind is dict:
        return _is_plain([*value, *value.values()], depth)
    if kind in (list, tuple, set, frozenset):
        return depth > 0 and all(x is None or _is_plain(x, depth - 1) for x in value)
    return kind in (str, int, float, bool)


def findings(timeline: Timeline) -> list[str]:
    """The findings, each after an arrow."""
    return [f"→ {sentence}" for sentence in timeline.findings]


def alternative(text: str, limit: int = 400) -> str:
    """An image's alt text: the same facts in a short paragraph, findings first."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line]
    lines.sort(key=lambda line: not line.startswith("→"))
    alt = "Chart. " + " ".join(f"{x.removeprefix('→ ').rstrip('.')}." for x in lines)
    return alt if len(alt) <= limit else alt[: limit - 2].rsplit(" ", 1)[0] + " …"


def counted(timeline: Timeline, told: list[Row]) -> list[str]:
    """One line that says how many tasks have a row of their own, unless all have."""
    alone = [row.lanes[0] for row in told if len(row.lanes) == 1]
    shown, of = (sum(x.kind != BLOCK for x in some) for some in (alone, timeline.lanes))
    if shown == of:
        return []
    noun = "lane" if any(x.kind == SPAN for x in timeline.lanes) else "task"
    return [
        f"{shown:,} of {many(of, noun)} shown one by one, and all of them in groups"
    ]


# --- rows: each lane alone, or lanes of the same coroutine together


def rows(timeline: Timeline, at_most: int, longest: int = 0) -> list[Row]:
    """One row a lane for up to ``at_most`` lanes, else one a group of lanes.

    Below a group stand those of its lanes that failed, and its ``longest`` few.
    """
    lanes, depths = timeline.lanes, _depths(timeline.lanes)
    if len(lanes) <= at_most:
        return [Row(x.name, depths[id(x)], (x,)) for x in lanes]
    notable = _notable(lanes, longest)
    listed = []
    for name, group in _groups(lanes):
        depth = min(depths[id(x)] for x in group)
        if len(group) == 1:
            listed.append(Row(group[0].name, depth, (group[0],)))
            continue
        listed.append(Row(f"{name} × {len(group):,}", depth, tuple(group)))
        listed += [Row(x.name, depth + 1, (x,)) for x in group if id(x) in notable]
    return listed


def _depths(lanes: tuple[Lane, ...]) -> dict[int, int]:
    """How many ancestors each lane has: a parent always comes before its children."""
    of_name: dict[str | None, int] = {}
    depths = {}
    for lane in lanes:
        depths[id(lane)] = of_name[lane.name] = of_name.get(lane.parent, -1) + 1
    return depths


def _notable(lanes: tuple[Lane, ...], longest: int) -> set[int]:
    """The first lanes that failed, and the longest few."""
    failed = [x for x in lanes if x.outcome not in ENDS]
    slow = sorted(lanes, key=lambda x: x.born - x.ended)
    return {id(x) for x in (*failed[:MOST_FAILED], *slow[:longest])}


def _groups(lanes: tuple[Lane, ...]) -> list[tuple[str, list[Lane]]]:
    """Lanes by parent and coroutine; if those are too many, by coroutine alone."""

    def coroutine(lane: Lane) -> str:
        return lane.coroutine or lane.name

    groups = _sorted_into(lanes, lambda x: (x.parent, coroutine(x)))
    if len(groups) > MOST_GROUPS:
        groups = _sorted_into(lanes, coroutine)
    if len(groups) > MOST_GROUPS:
        large = Counter(map(coroutine, lanes)).most_common(MOST_GROUPS - 1)
        kept = {name for name, _ in large}
        groups = _sorted_into(lanes, lambda x: coroutine(x) in kept and coroutine(x))
        groups["others"] = groups.pop(False)
        return list(groups.items())
    return [(coroutine(group[0]), group) for group in groups.values()]


def _sorted_into(
    lanes: tuple[Lane, ...], key: Callable[[Lane], Hashable]
) -> dict[Hashable, list[Lane]]:
    groups = defaultdict(list)
    for lane in lanes:
        groups[key(lane)].append(lane)
    return groups


# --- sentences


def lanes_in_words(told: list[Row]) -> list[str]:
    """One line a row, the labels indented below their parents and padded."""
    labels = ["  " * row.depth + row.label for row in told]
    column = min(max(map(len, labels), default=0), 28)
    return [
        f"{label:<{column}}  {_story(row)}".rstrip()
        for label, row in zip(labels, told, strict=True)
    ]


def _story(row: Row) -> str:
    if len(row.lanes) > 1:
        return _group_story(row.lanes)
    lane = row.lanes[0]
    told, before = [], ""
    for phrase, start, end in stretches(lane):
        once_more = phrase == before
        told.append(f"{'' if once_more else phrase} {_from_to(start, end)}".lstrip())
        before = phrase
    if len(told) > STRETCHES_IN_FULL:
        more = len(told) - STRETCHES_IN_FULL
        told[STRETCHES_IN_FULL:] = [f"{more} more stretches"]
    if sum(x.state == RUN for x in lane.intervals) > MANY_STEPS:
        told.append(f"more than {MANY_STEPS:,} steps")
    return ", ".join([*told, _ending(lane)])


def _ending(lane: Lane) -> str:
    end = ENDS.get(lane.outcome, f"fails with {lane.outcome}")
    moment = clock(lane.ended)
    return f"{end} at {moment}" if moment and lane.outcome != PENDING else end


def _group_story(lanes: tuple[Lane, ...]) -> str:
    first, last = min(x.born for x in lanes), max(x.ended for x in lanes)
    ends = Counter(ENDS.get(x.outcome, f"fail with {x.outcome}") for x in lanes)
    counts = [f"{n:,} {end}" for end, n in ends.items()]
    span = [_from_to(first, last)] if clock(last) else []
    return ", ".join(span + counts)


def stretches(lane: Lane) -> list[tuple[str, float, float]]:
    """What the lane did for 50 ms or longer: (phrase, start, end), in order.

    Stretches with the same phrase are one if what lies between them is short, unless
    both are waits that are long enough to be told apart, as a wait for each page.
    """
    told: list[tuple[str, float, float]] = []
    latest: dict[str, tuple[int, Interval]] = {}
    for interval in lane.intervals:
        phrase = _phrase(interval)
        place, before = latest.get(phrase, (0, None))
        if before and _goes_on(before, interval):
            told[place] = (phrase, told[place][1], interval.end)
        else:
            place = len(told)
            told.append((phrase, interval.start, interval.end))
        latest[phrase] = (place, interval)
    return [x for x in told if x[2] - x[1] >= TOO_SHORT and tenths(x[1]) < tenths(x[2])]


def _goes_on(before: Interval, after: Interval) -> bool:
    shortest = min(x.end - x.start for x in (before, after))
    if after.state == WAIT and shortest >= LONG_WAIT:
        return False
    between, length = after.start - before.end, after.end - after.start
    return between <= min(TOO_SHORT, length / 2)


def _phrase(interval: Interval) -> str:
    if interval.state == WAIT and interval.reason:
        return f"waits for {interval.reason}"
    return {WAIT: "waits", READY: "is held up", RUN: "runs"}[interval.state]


def _printed(timeline: Timeline) -> Iterator[str]:
    if timeline.printed:
        yield "printed"
    for at, _, text in timeline.printed[:PRINTED_IN_FULL]:
        moment = f"{tenths(at) / 10:.1f} s  " if clock(timeline.elapsed) else ""
        yield f"  {moment}{' '.join(text.splitlines())}".rstrip()
    if len(timeline.printed) > PRINTED_IN_FULL:
        yield f"  and {len(timeline.printed) - PRINTED_IN_FULL:,} more lines"


# --- moments


def tenths(seconds: float) -> int:
    """The tenth of a second that a moment belongs to, allowing for its being late."""
    return max(0, int(round(seconds + 0.02, 6) * 10 + 1e-6))


def clock(seconds: float) -> str:
    """A moment as "2.0 s", or "" when it lies within the first tenth of a second."""
    return f"{tenths(seconds) / 10:,.1f} s" if tenths(seconds) else ""


def _from_to(start: float, end: float) -> str:
    return f"{tenths(start) / 10:,.1f}–{tenths(end) / 10:,.1f} s"


def many(number: int, noun: str) -> str:
    """A number with its noun, as in "1 task" and "1,000 tasks"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def in_brief(error: BaseException) -> str:
    """An exception as "ValueError: no egg": the first paragraph of what it says."""
    first = text_of(error).partition("\n\n")[0]
    said = shorten(first, LONGEST_MESSAGE, placeholder=" …")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def text_of(error: BaseException) -> str:
    """What an exception says; "" if it fails even at that."""
    try:
        return str(error)
    except Exception:
        return ""


def at_place(place: object) -> str:
    """Where something happened, to be put behind what it was; "" for no place."""
    return f", at {place}" if place else ""
