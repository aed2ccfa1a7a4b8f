"""What a chart looks like: timelines below each other on one time axis."""

from __future__ import annotations

from math import ceil, floor, log10
from textwrap import wrap

import numpy as np

from lessons_support.bars import (
    CROWD,
    CROWD_HELD_UP,
    HELD_UP,
    REASON,
    RUNNING,
    WAITING,
    draw_busy,
    draw_crowd,
    draw_lanes,
)
from lessons_support.canvas import Canvas, Ink
from lessons_support.layout import (
    BESIDE,
    LOOP,
    MANY,
    MARGIN,
    MOST_PRINTED,
    MOST_STEPS,
    WIDTH,
    Panel,
    Place,
    Scale,
    arrange,
    labelled_at,
    mark,
    packed,
    placed,
    scale_of,
    ticks,
)
from lessons_support.letters import BOLD, CODE, PLAIN, shortened, width
from lessons_support.timeline import Timeline
from lessons_support.words import clock, counted, findings, headline, many

GAP = 18  # between two timelines

BLACK, GREY, BROWN, PAPER = Ink("#222222"), REASON, Ink("#8F3A00"), Ink("#FFFFFF")
BAND, GRID, THREAD, END = Ink("#F9E0D3"), Ink("#E6E6E6"), Ink("#A6A6A6"), Ink("#6E6E6E")
BEHIND = (BAND, GRID, END, THREAD, PAPER)
INKS = (*BEHIND, CROWD, CROWD_HELD_UP, WAITING, HELD_UP, RUNNING, BLACK, GREY, BROWN)
LEGEND = (
    ("running", (RUNNING,), 10),
    ("ready, but held up", (HELD_UP, CROWD_HELD_UP), 10),
    ("waiting", (WAITING,), 4),
    ("how many are not done", (CROWD,), 10),
)


def paint(captioned: list[tuple[str, Timeline]]) -> tuple[bytes, int, int]:
    """A PNG of the captioned timelines, with its width and height in CSS pixels."""
    panels = [arrange(*x) for x in captioned]
    scale = scale_of(panels)
    canvas = Canvas(*INKS)
    y: float = MARGIN - GAP
    for panel in panels:
        y = _draw_panel(canvas, scale, panel, y + GAP)
    y = _draw_axis(canvas, scale, y + 4)
    y = _draw_legend(canvas, scale, y)
    y = _draw_notes(canvas, panels, y)
    height = ceil(y + MARGIN)
    return canvas.png(WIDTH, height), WIDTH, height


# --- one timeline


def _draw_panel(canvas: Canvas, scale: Scale, panel: Panel, y: float) -> float:
    """Draw one timeline from ``y`` down, and say where it ends, as all do here."""
    timeline = panel.timeline
    top = _draw_heading(canvas, scale, panel, y)
    y = _draw_culprits(canvas, scale, panel, top)
    places = placed(panel, y)
    if timeline.lanes:
        bottom = places[-1].base + 8
    else:
        bottom = y + len(places) * LOOP.pitch + 30
        canvas.text(scale.left + 8, bottom - 12, "no task ran here", 13, GREY)
    _draw_bands(canvas, scale, panel, places, top, bottom)
    _draw_rows(canvas, scale, places)
    bottom = _draw_printed(canvas, scale, timeline, places, bottom)
    _draw_grid(canvas, scale, timeline, top, bottom)
    return bottom


def _draw_heading(canvas: Canvas, scale: Scale, panel: Panel, y: float) -> float:
    """The caption, and how long the recording lasted above the line where it ends."""
    end, text = scale(panel.timeline.elapsed), _length(panel.timeline.elapsed)
    wide = width(text, 12, BOLD)
    left = min(end - wide / 2, WIDTH - MARGIN - wide)
    canvas.text(left, y + 13, text, 12, BLACK, BOLD)
    caption = shortened(panel.caption, left - MARGIN - 10, 14, BOLD)
    canvas.text(MARGIN, y + 13, caption, 14, BLACK, BOLD)
    return y + 20


def _length(seconds: float) -> str:
    if seconds < 0.1:
        return f"{seconds * 1e3:.{0 if seconds >= 0.01 else 1}f} ms"
    return clock(seconds)


def _draw_culprits(canvas: Canvas, scale: Scale, panel: Panel, y: float) -> float:
    """Who blocked which loop, above the band where it did; the findings say where."""
    labels = []
    for lane, start, _, _, loop in panel.timeline.blocked[:12]:
        what = f"{loop} blocked" if len(panel.loops) > 1 else "blocked"
        who = shortened(f"{what} by {lane or 'a callback'}", 260, 11)
        labels.append((scale(start) + 4, who))
    for (_, text), (x, line) in zip(labels, packed(labels, y, 11, PLAIN), strict=True):
        canvas.text(x, line, text, 11, BROWN)
        y = max(y, line + 5)
    return y


def _draw_bands(
    canvas: Canvas,
    scale: Scale,
    panel: Panel,
    places: list[Place],
    top: float,
    bottom: float,
) -> None:
    """A band through the rows of a loop wherever a step blocked it."""
    for _, start, end, _, loop in panel.timeline.blocked:
        left, right = scale(start), scale(end)
        if len(panel.loops) == 1:
            canvas.bars(BAND, left, right, top, bottom)
            continue
        for place in places:
            if any(loop in (x.name, x.loop) for x in place.row.lanes):
                edge = place.middle - place.size.pitch / 2
                canvas.bars(BAND, left, right, edge, edge + place.size.pitch)


def _draw_grid(
    canvas: Canvas, scale: Scale, timeline: Timeline, top: float, bottom: float
) -> None:
    x, end = scale(np.array(ticks(scale.span))), scale(timeline.elapsed)
    canvas.bars(GRID, x - 0.5, x + 0.5, top, bottom)
    canvas.bars(END, end - 0.5, end + 0.5, top, bottom)


def _draw_rows(canvas: Canvas, scale: Scale, places: list[Place]) -> None:
    alone = []
    for place in places:
        _draw_label(canvas, scale, place)
        if place.size is MANY:
            _draw_note_on_crowd(canvas, scale, place, draw_crowd(canvas, scale, place))
        elif place.size is LOOP and len(place.row.lanes[0].intervals) > MOST_STEPS:
            draw_busy(canvas, scale, place)
        else:
            alone.append(place)
        if len(place.row.lanes) == 1 and place.size is not LOOP:
            _draw_mark(canvas, scale, place)
    draw_lanes(canvas, scale, alone)


def _draw_label(canvas: Canvas, scale: Scale, place: Place) -> None:
    size, x = place.size.text, labelled_at(place.row)
    text = shortened(place.row.label, scale.left - BESIDE - x, size)
    ink = GREY if place.size is LOOP else BLACK
    canvas.text(x, place.middle + size * 0.36, text, size, ink)


def _draw_note_on_crowd(canvas: Canvas, scale: Scale, place: Place, most: int) -> None:
    """Below the label of many lanes: how they ended, and how many were alive."""
    x = labelled_at(place.row)
    for n, note in enumerate((mark(place.row.lanes), f"most at once: {most:,}")):
        text = shortened(note, scale.left - BESIDE - x, 11)
        canvas.text(x, place.middle + 20 + 16 * n, text, 11, GREY)


def _draw_mark(canvas: Canvas, scale: Scale, place: Place) -> None:
    """How a lane ended, beside its end."""
    x, size = scale(place.row.lanes[0].ended) + 6, min(place.size.text, 12)
    text = shortened(mark(place.row.lanes), WIDTH - MARGIN - x, size)
    canvas.text(x, place.middle + size * 0.36, text, size, BLACK)


# --- what was printed


def _draw_printed(
    canvas: Canvas, scale: Scale, timeline: Timeline, places: list[Place], y: float
) -> float:
    """What was printed, beside its moment, each line tied to the lane it came from."""
    shown = timeline.printed[:MOST_PRINTED]
    if not shown:
        return y
    canvas.text(MARGIN, y + 17, "printed", 12, GREY)
    _draw_dot(canvas, MARGIN + width("printed", 12) + 9, y + 13)
    tops = {x.row.label: x.top for x in places if len(x.row.lanes) == 1}
    labels = [(scale(at) + 4, shortened(text, 300, 11, CODE)) for at, _, text in shown]
    lines = packed(labels, y + 6, 11, CODE)
    for (at, lane, _), (_, text), (x, line) in zip(shown, labels, lines, strict=True):
        _draw_pin(canvas, scale(at), tops.get(lane, y + 1), line)
        canvas.bars(PAPER, x - 2, x + width(text, 11, CODE) + 2, line - 11, line + 4)
        canvas.text(x, line, text, 11, BLACK, CODE)
    y = max(line for _, line in lines) + 9
    if more := len(timeline.printed) - len(shown):
        canvas.text(scale.left + 4, y + 6, f"and {many(more, 'more line')}", 11, GREY)
    return y + 15 * bool(more)


def _draw_pin(canvas: Canvas, x: float, top: float, base: float) -> None:
    """A dot where a line was printed, and a thread down to its text."""
    canvas.bars(THREAD, x - 0.5, x + 0.5, top, base)
    _draw_dot(canvas, x, top - 1)


def _draw_dot(canvas: Canvas, x: float, y: float) -> None:
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    dot = np.stack([x + 3 * np.cos(turn), y + 3 * np.sin(turn)], 1)
    canvas.shapes(BLACK, dot[None])


# --- below the timelines


def _draw_axis(canvas: Canvas, scale: Scale, y: float) -> float:
    """The time axis: its ticks in seconds, or in milliseconds if all is that short."""
    unit, factor = ("ms", 1e3) if scale.span < 0.1 else ("seconds", 1)
    moments = ticks(scale.span)
    digits = max(0, -floor(log10(moments[1] * factor) + 1e-9))
    for moment in moments:
        text = f"{moment * factor:,.{digits}f}"
        canvas.text(scale(moment) - width(text, 12) / 2, y + 12, text, 12, GREY)
    canvas.text(MARGIN, y + 12, unit, 12, GREY)
    return y + 24


def _draw_legend(canvas: Canvas, scale: Scale, y: float) -> float:
    """What occurs in the chart, each with its form."""
    x, base = scale.left, y + 14
    used = [item for item in LEGEND if any(canvas.uses(ink) for ink in item[1])]
    for text, inks, tall in used:
        canvas.bars(inks[0], x, x + 18, base - tall, base)
        canvas.text(x + 24, base - 1, text, 11, GREY)
        x += 24 + width(text, 11) + 22
    return y + 28 * bool(used)


def _draw_notes(canvas: Canvas, panels: list[Panel], y: float) -> float:
    """Under the chart, for each timeline: what it holds, and what it shows."""
    for panel in panels:
        first = f"{panel.caption}: " if panel.caption else ""
        first += headline(panel.timeline)
        for line in (first, *counted(panel.timeline, panel.rows)):
            y = _draw_note(canvas, line, y, GREY)
        for line in findings(panel.timeline):
            y = _draw_note(canvas, line, y, BLACK)
    return y


def _draw_note(canvas: Canvas, text: str, y: float, ink: Ink) -> float:
    for n, line in enumerate(wrap(text, 108)):
        x = MARGIN + 16 * bool(n and text.startswith("→"))
        fitting = shortened(line, WIDTH - MARGIN - x, 12)
        canvas.text(x, y + 14, fitting, 12, ink)
        y += 18
    return y + 2
