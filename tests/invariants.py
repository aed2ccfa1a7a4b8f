"""What every timeline keeps to, whatever was recorded."""

from __future__ import annotations

from itertools import pairwise

from lessons_support.timeline import LOOP, RUN, SPAN, Lane, Timeline


def flaws(timeline: Timeline) -> list[str]:
    """What a timeline says that cannot be: each flaw in a sentence.

    Tasks of two loops may run at the same time, so overlaps are told for one loop only.
    """
    found = []
    names = [x.name for x in timeline.lanes]
    for lane in (*timeline.lanes, *timeline.loops):
        found += flaws_of_lane(lane)
        if not 0 <= lane.born <= lane.ended <= timeline.elapsed:
            found.append(f"{lane.name} is outside the recording")
        if lane.parent is not None and lane.parent not in names:
            found.append(f"{lane.name} has an unknown parent, {lane.parent}")
    if len(set(names)) != len(names):
        found.append(f"two lanes have the same name: {sorted(names)}")
    tasks = [x for x in timeline.lanes if x.kind != SPAN]
    if len(timeline.loops) == 1:
        found += overlaps(tasks) + not_on_the_loop(tasks, timeline.loops[0])
    return found


def flaws_of_lane(lane: Lane) -> list[str]:
    """The gaps between a lane's intervals, and those that are no intervals at all."""
    found = []
    at = lane.born
    for state, start, end, _ in lane.intervals:
        if start != at:
            found.append(f"{lane.name} has a gap: {state} from {start}, not {at}")
        if end <= start:
            found.append(f"{lane.name} has an empty {state} at {start}")
        at = end
    if at != lane.ended and not (lane.kind == SPAN and not lane.intervals):
        found.append(f"{lane.name} stops at {at}, but ended at {lane.ended}")
    if lane.kind != LOOP and any(
        (one.state, one.reason) == (other.state, other.reason)
        for one, other in pairwise(lane.intervals)
        if one.state != RUN
    ):
        found.append(f"{lane.name} has one interval cut in two")
    return found


def overlaps(tasks: list[Lane]) -> list[str]:
    """The pairs of tasks of one loop that run at once."""
    runs = sorted(
        (i.start, i.end, lane.name)
        for lane in tasks
        for i in lane.intervals
        if i.state == RUN
    )
    return [
        f"{name} and {other} run at once, at {start}"
        for (_, end, name), (start, _, other) in pairwise(runs)
        if start < end
    ]


def not_on_the_loop(tasks: list[Lane], loop: Lane) -> list[str]:
    """The runs of tasks at whose time the loop's own lane says that it waits."""
    waits = [(i.start, i.end) for i in loop.intervals if i.state != RUN]
    found, at = [], 0
    for start, end, name in sorted(
        (i.start, i.end, lane.name)
        for lane in tasks
        for i in lane.intervals
        if i.state == RUN
    ):
        while at < len(waits) and waits[at][1] <= start:
            at += 1
        if at < len(waits) and waits[at][0] < end:
            found.append(f"{name} runs at {start}, while the loop waits")
    return found
