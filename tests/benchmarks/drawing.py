"""How much processor time a chart takes: `python tests/benchmarks/drawing.py`.

Each shape is drawn once to warm up, then several times; the median counts. The time
is that of `draw`, from timeline to PNG and words, without importing matplotlib.
"""

from __future__ import annotations

from statistics import median
from time import process_time

from lessons_support.chart import Chart, draw
from lessons_support.timeline import READY, RUN, WAIT, Interval, Lane, Story, Timeline

TARGETS = {1_000: 0.15, 10_000: 0.25, 100_000: 0.5}  # seconds
LANES = (10, 40, 150)  # few; all that have labels and reasons; all in small rows
ROUNDS, SECONDS, CUTS = 5, 10.0, 5
STATES = ((RUN, ""), (WAIT, "sleep"), (READY, "timer"))


def lane(number: int, intervals: int) -> Lane:
    """A lane of ten seconds, cut into intervals of the three states in turn."""
    step = SECONDS / intervals
    cuts = (
        Interval(STATES[n % 3][0], n * step, (n + 1) * step, STATES[n % 3][1])
        for n in range(intervals)
    )
    name = f"fetch-{number}"
    return Lane(name, None, 0.0, SECONDS, "ok", tuple(cuts), coroutine="fetch")


def timeline(lanes: int, intervals: int) -> Timeline:
    story = Story(SECONDS, tuple(lane(n, intervals // lanes) for n in range(lanes)))
    return Timeline(lambda: story)


def seconds(drawn: Timeline) -> tuple[float, Chart]:
    """The median processor time of drawing, and the chart."""
    draw(drawn)
    times = []
    for _ in range(ROUNDS):
        start = process_time()
        chart = draw(drawn)
        times.append(process_time() - start)
    return median(times), chart


def main() -> None:
    print("| intervals | lanes | CPU | target | PNG |")
    print("|---:|---:|---:|---:|---:|")
    for intervals, target in TARGETS.items():
        for lanes in (*LANES, intervals // CUTS):
            took, chart = seconds(timeline(lanes, intervals))
            size = f"{len(chart.png) / 1000:.0f} kB"
            figures = f"{took:.3f} s | {target} s | {size}"
            print(f"| {intervals:,} | {lanes:,} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
