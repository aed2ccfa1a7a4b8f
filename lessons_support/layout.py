"""Where things lie on a chart: the moments on its axis, and the rows below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from math import ceil, floor, log10
from typing import Any, NamedTuple

import numpy as np

from lessons_support.letters import CODE, width
from lessons_support.timeline import CANCELLED, OK, PENDING, Lane, Timeline
from lessons_support.words import Row, rows

WIDTH, MARGIN, INDENT = 800, 14, 14
LABELS, BESIDE, MOST_BESIDE, LEAST_AXIS = 230, 14, 90, 330
MOST_PRINTED, MOST_STEPS = 24, 400
SHORTEST = 0.001  # seconds on the axis of a recording in which no time passes
UP_TO_LARGE, UP_TO_SMALL, LONGEST = 40, 150, 3
MARKS = {OK: "✓", CANCELLED: "⊘ cancelled", PENDING: "… pending"}


class Size(NamedTuple):
    """The measures of a row, in pixels: its distance to the next, and its bars'."""

    pitch: int
    tall: int
    thin: int
    text: float
    reasons: bool = False


LARGE, MEDIUM, SMALL = (
    Size(28, 16, 4, 13, True),
    Size(20, 12, 3, 12),
    Size(9, 7, 2, 8.5),
)
LOOP, MANY = Size(17, 9, 1, 12), Size(84, 54, 10, 13)


class Scale(NamedTuple):
    """Where on the paper a moment lies."""

    left: float
    right: float
    span: float

    def __call__(self, seconds: Any) -> Any:
        return self.left + (self.right - self.left) * (seconds / self.span)

    def pixels(self) -> Any:
        """The pixels of the axis, each by its left edge."""
        return np.arange(floor(self.left), ceil(self.right) + 1)


class Place(NamedTuple):
    """A row's place: ``top`` and ``base`` are those of its bars."""

    row: Row
    size: Size
    top: float
    base: float

    @property
    def middle(self) -> float:
        return (self.top + self.base) / 2


class Panel(NamedTuple):
    """One timeline of the chart and the rows it is shown in."""

    caption: str
    timeline: Timeline
    loops: list[Row]
    rows: list[Row]

    def size(self, row: Row) -> Size:
        """How large a row of lanes is: the more there are, the smaller."""
        if len(row.lanes) > 1:
            return MANY
        lanes = len(self.timeline.lanes)
        if lanes > UP_TO_SMALL:
            return MEDIUM
        return LARGE if lanes <= UP_TO_LARGE else SMALL


def arrange(caption: str, timeline: Timeline) -> Panel:
    """The rows of one timeline."""
    loops = [Row(x.name, 0, (x,)) for x in timeline.loops]
    return Panel(caption, timeline, loops, rows(timeline, UP_TO_SMALL, LONGEST))


def scale_of(panels: list[Panel]) -> Scale:
    """The axis between the widest label and the widest text beyond its end."""
    ends = [x.timeline.elapsed for x in panels]
    ends += [lane.ended for x in panels for lane in x.timeline.lanes]
    span = max(*ends, SHORTEST)
    labels = [_label_width(x, row) for x in panels for row in (*x.loops, *x.rows)]
    left = MARGIN + max([72, *labels]) + BESIDE
    room = WIDTH - MARGIN - left
    beyond = [18.0]
    for end, wide in chain.from_iterable(map(_beside, panels)):
        beyond.append(wide + 8 - (1 - end / span) * room * 0.8)
    return Scale(left, WIDTH - MARGIN - min(max(beyond), room - LEAST_AXIS), span)


def _label_width(panel: Panel, row: Row) -> float:
    wide = width(row.label, panel.size(row).text)
    if len(row.lanes) > 1:
        wide = max(wide, width(mark(row.lanes), 11))
    return min(wide + labelled_at(row) - MARGIN, LABELS)


def labelled_at(row: Row) -> float:
    """Where a row's label begins: further right, the more ancestors it has."""
    return MARGIN + min(INDENT * row.depth, LABELS / 2)


def _beside(panel: Panel) -> Iterator[tuple[float, float]]:
    """The texts that stand to the right of a moment: the moment and their width."""
    for row in panel.rows:
        if len(row.lanes) == 1:
            yield row.lanes[0].ended, width(mark(row.lanes), 12)
    for at, _, text in panel.timeline.printed[:MOST_PRINTED]:
        yield at, min(width(text, 11, CODE), MOST_BESIDE)


def mark(lanes: tuple[Lane, ...]) -> str:
    """How lanes ended: "✗ ValueError" for one, "✓ 9, ✗ 1 ValueError" for many."""
    ends = Counter(MARKS.get(x.outcome, f"✗ {x.outcome}") for x in lanes)
    if len(lanes) == 1:
        return next(iter(ends))
    marks = [(mark.partition(" "), number) for mark, number in ends.most_common()]
    return ", ".join(f"{a} {number:,} {b}".rstrip() for (a, _, b), number in marks)


def placed(panel: Panel, y: float) -> list[Place]:
    """Where the rows lie, from ``y`` down: those of the loops, then those of lanes."""
    sized = [(row, LOOP) for row in panel.loops]
    sized += [(row, panel.size(row)) for row in panel.rows]
    places = []
    for row, size in sized:
        base = y + (size.pitch + size.tall) / 2
        places.append(Place(row, size, base - size.tall, base))
        y += size.pitch
    return places


def packed(
    labels: list[tuple[float, str]], y: float, size: float, font: str
) -> list[tuple[float, float]]:
    """Where texts go, beside their moments and in enough lines to keep them apart."""
    free: list[float] = []  # how far each line is taken
    places = []
    for x, text in labels:
        wide = width(text, size, font)
        x = min(x, WIDTH - MARGIN - wide)
        line = next((n for n, taken in enumerate(free) if taken < x), len(free))
        free[line : line + 1] = [x + wide + 12]
        places.append((x, y + line * (size + 4) + size))
    return places


def ticks(span: float) -> list[float]:
    """Round moments from 0 to the span, at most nine."""
    rough = span / 8
    power = 10.0 ** floor(log10(rough))
    step = next(x * power for x in (1, 2, 5, 10) if x * power >= rough * 0.999)
    return [n * step for n in range(floor(span / step * 1.001) + 1)]
