"""How lanes are drawn: each as bars of its states, or many as one area.

Running is tall and solid, ready is tall and hatched, waiting is thin: the three can be
told apart without colour. Colours are those of Okabe and Ito (jfly.uni-koeln.de/color).
A run is at least 2 pixels wide: 50 µs in a chart of 1 s would be 0.03 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from lessons_support.canvas import Canvas, Ink
from lessons_support.layout import Place, Scale
from lessons_support.letters import width
from lessons_support.timeline import READY, RUN, STATES, WAIT, Lane

NARROWEST = 2.0
MOST_REASONS = 150

CROWD = Ink("#C4C4C4")
WAITING = Ink("#808080")
HELD_UP = Ink("#F2B33D", edge="#5C3D00", width=0.6, hatch="/////")
CROWD_HELD_UP = HELD_UP._replace(width=0)
RUNNING = Ink("#0072B2")
REASON = Ink("#595959")


class Stretches(NamedTuple):
    """The intervals of some lanes, as one array for each of their parts."""

    of: Any  # the number of the lane
    state: Any
    start: Any
    end: Any
    reason: Any

    def only(self, chosen: Any) -> Stretches:
        return Stretches(*(part[chosen] for part in self))

    def which(self, state: str) -> Stretches:
        return self.only(self.state == STATES.index(state))


def _stretches(lanes: Sequence[Lane]) -> Stretches:
    """All intervals; a lane that has none waits all its life, so that it is seen."""
    each = [x.intervals or ((WAIT, x.born, x.ended, ""),) for x in lanes]
    state, start, end, reason = zip(*chain.from_iterable(each), strict=True)
    of = np.repeat(np.arange(len(lanes)), list(map(len, each)))
    state = np.fromiter(map(STATES.index, state), int, len(state))
    return Stretches(of, state, np.array(start), np.array(end), np.array(reason, "O"))


def draw_lanes(canvas: Canvas, scale: Scale, places: list[Place]) -> None:
    """Rows of one lane each: its bars, and what it waits for."""
    if not places:
        return
    found = _stretches([x.row.lanes[0] for x in places])
    found = found.only(_visible(scale, found))
    for state, ink in ((WAIT, WAITING), (READY, HELD_UP), (RUN, RUNNING)):
        _draw_bars(canvas, scale, places, found.which(state), state, ink)
    _draw_reasons(canvas, scale, places, found.which(WAIT))


def _draw_bars(
    canvas: Canvas,
    scale: Scale,
    places: list[Place],
    found: Stretches,
    state: str,
    ink: Ink,
) -> None:
    lives = [(x.row.lanes[0].born, x.row.lanes[0].ended) for x in places]
    born, ended = scale(np.array(lives)[found.of].T)
    until = np.minimum(np.maximum(ended, born + NARROWEST), scale.right)
    left, right = _widened(scale(found.start), scale(found.end), until)
    of, left, right = _merged(found.of, left, right)
    base = np.array([x.base for x in places])[of]
    tall = [x.size.thin if state == WAIT else x.size.tall for x in places]
    canvas.bars(ink, left, right, base - np.array(tall)[of], base)


def _visible(scale: Scale, found: Stretches) -> Any:
    """All but the stretches of ready that are too short to be seen.

    Every step is ready for some microseconds first; who is held up is ready for long.
    """
    ready = found.state == STATES.index(READY)
    short = ready & (scale(found.end) - scale(found.start) < NARROWEST)
    seen = np.zeros(found.of.max() + 1, bool)
    seen[found.of[~short]] = True
    return ~short | ~seen[found.of]


def _widened(left: Any, right: Any, until: Any) -> tuple[Any, Any]:
    """The bars, each wide enough to be seen, and still within its lane's life."""
    right = np.maximum(right, left + NARROWEST)
    over = np.maximum(0, right - until)
    return left - over, right - over


def _merged(of: Any, left: Any, right: Any) -> tuple[Any, Any, Any]:
    """The bars, those of a lane that touch made one: at most one for each pixel."""
    if not len(of):
        return of, left, right
    apart = (of[1:] != of[:-1]) | (left[1:] > right[:-1])
    first = np.flatnonzero(np.concatenate([[True], apart]))
    return of[first], left[first], np.maximum.reduceat(right, first)


def _draw_reasons(
    canvas: Canvas, scale: Scale, places: list[Place], waits: Stretches
) -> None:
    """What is waited for, above the thin bar, wherever there is room for it."""
    room = scale(waits.end) - scale(waits.start) - 8
    widths = {reason: width(reason, 11) for reason in set(waits.reason)}
    needed = np.array([widths[x] for x in waits.reason])
    fits = np.flatnonzero((room >= needed) & (needed > 0))
    for n in fits[np.argsort(-room[fits], kind="stable")][:MOST_REASONS]:
        place = places[waits.of[n]]
        if place.size.reasons:
            x, y = scale(waits.start[n]) + 5, place.base - place.size.thin - 4
            canvas.text(x, y, waits.reason[n], 11, REASON)


# --- many lanes in one row


def draw_crowd(canvas: Canvas, scale: Scale, place: Place) -> int:
    """How many lanes are alive, how many of them held up, and when any runs.

    The result is the most that were alive at once, which is the area's full height.
    """
    lanes, size = place.row.lanes, place.size
    base = place.base - size.thin - 2
    alive = _crowd(scale, *np.array([(x.born, x.ended) for x in lanes]).T)
    one = (base - place.top) / alive.max()
    _draw_area(canvas, CROWD, scale, alive * one, base)
    found = _stretches(lanes)
    ready = found.which(READY)
    held_up = _crowd(scale, ready.start, ready.end)
    _draw_area(canvas, CROWD_HELD_UP, scale, held_up * one, base)
    runs = _load(scale, found.which(RUN))
    _draw_area(canvas, RUNNING, scale, runs * size.thin, place.base)
    return int(alive.max())


def draw_busy(canvas: Canvas, scale: Scale, place: Place) -> None:
    """A lane of very many steps: how much of each pixel's time it ran."""
    runs = _load(scale, _stretches(place.row.lanes).which(RUN))
    _draw_area(canvas, RUNNING, scale, runs * place.size.tall, place.base)


def _crowd(scale: Scale, start: Any, end: Any) -> Any:
    """For each pixel of the axis, the most that were under way in it."""
    moments = scale(np.concatenate([start, end]))
    change = np.repeat([1, -1], len(start))
    order = np.argsort(moments, kind="stable")
    moments, now = moments[order], np.cumsum(change[order])
    pixels = scale.pixels()
    most = np.concatenate([[0], now])[np.searchsorted(moments, pixels)]
    pixel = np.clip(moments - pixels[0], 0, len(pixels) - 1).astype(int)
    np.maximum.at(most, pixel, now)
    return most


def _load(scale: Scale, runs: Stretches) -> Any:
    """For each pixel of the axis, which part of its time was spent running."""
    edges = np.append(scale.pixels(), scale.pixels()[-1] + 1)
    spent = _since(scale(runs.start), edges) - _since(scale(runs.end), edges)
    return np.clip(np.diff(spent), 0, 1)


def _since(moments: Any, edges: Any) -> Any:
    """For each edge, the sum of the distances from all moments before it."""
    moments = np.sort(moments)
    count = np.searchsorted(moments, edges)
    return count * edges - np.append(0, np.cumsum(moments))[count]


def _draw_area(
    canvas: Canvas, ink: Ink, scale: Scale, heights: Any, base: float
) -> None:
    """The heights of all pixels, each at least 1, as one step where they are equal."""
    pixels = scale.pixels()
    heights = np.where(heights > 0, np.maximum(heights, 1), 0)
    first = np.flatnonzero(np.diff(heights, prepend=-1))
    left, right = pixels[first], np.append(pixels[first][1:], pixels[-1] + 1)
    tall = heights[first]
    canvas.bars(ink, left[tall > 0], right[tall > 0], base - tall[tall > 0], base)
