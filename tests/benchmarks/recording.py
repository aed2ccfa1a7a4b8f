"""What recording costs, beside other ways to watch: see README.md in this folder.

Each way runs in a process of its own. Bare and watched runs alternate, and the median
of the ratios of neighbours counts: what else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import tracemalloc
from contextlib import contextmanager, nullcontext
from statistics import median

from lessons_support import record

PAIRS = 7
LIMIT = 60.0  # seconds for one way; a slow one then runs fewer pairs


async def switching() -> None:
    """10,000 tasks, each giving way ten times."""

    async def task() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    await asyncio.gather(*[task() for _ in range(10_000)])


async def queue() -> None:
    """Two tasks that hand 20,000 things to each other."""
    there, back = asyncio.Queue(1), asyncio.Queue(1)

    async def one() -> None:
        for number in range(20_000):
            await there.put(number)
            await back.get()

    async def other() -> None:
        for _ in range(20_000):
            await back.put(await there.get())

    await asyncio.gather(one(), other())


async def sleepers() -> None:
    """1,000 tasks that sleep 1 ms to 1 s."""
    await asyncio.gather(*[asyncio.sleep(n / 1000) for n in range(1, 1001)])


@contextmanager
def viztracer():
    from viztracer import VizTracer

    tracer = VizTracer(log_async=True, verbose=0, tracer_entries=5_000_000)
    tracer.start()
    yield
    tracer.stop()
    tracer.clear()


@contextmanager
def debug_mode():
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = 60
    yield
    asyncio.get_running_loop().set_debug(False)


PROGRAMS = {
    switching: (time.process_time, 1.9),
    queue: (time.process_time, 1.4),
    sleepers: (time.perf_counter, 1.1),
}
WAYS = {"record": record, "VizTracer": viztracer, "debug": debug_mode}


def seconds(program, way, clock) -> float:
    async def block() -> float:
        with way():
            start = clock()
            await program()
            return clock() - start

    gc.collect()
    return asyncio.run(block())


def ratio(program, way) -> float:
    """The median of watched / bare, of up to seven pairs."""
    clock, _ = PROGRAMS[program]
    begin, ratios = time.monotonic(), []
    while len(ratios) < PAIRS and (not ratios or time.monotonic() - begin < LIMIT):
        bare = seconds(program, nullcontext, clock)
        ratios.append(seconds(program, way, clock) / bare)
    return median(ratios)


def memory(program) -> tuple[float, float, float]:
    """Bytes an interval: of the notes, once the lanes are read, with the loop's."""
    kept = []

    async def block() -> None:
        with record() as timeline:
            kept.append(timeline)
            await program()

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    asyncio.run(program())
    tracemalloc.start()
    before = held()
    asyncio.run(block())
    notes = held() - before
    number = sum(len(lane.intervals) for lane in kept[0].lanes)
    read = held() - before
    assert kept[0].loops
    loops = held() - before
    tracemalloc.stop()
    return notes / number, read / number, loops / number


def reading(program) -> float:
    """Seconds of processor time to read 100,000 intervals from the notes."""
    kept = []

    async def block() -> None:
        with record() as timeline:
            kept.append(timeline)
            await program()

    asyncio.run(block())
    start = time.process_time()
    lanes = kept[0].lanes
    took = time.process_time() - start
    return took / sum(len(lane.intervals) for lane in lanes) * 100_000


def told(*args: str) -> str:
    """The answer of this file, run in a process of its own."""
    ran = subprocess.run(
        [sys.executable, __file__, *args], capture_output=True, text=True, check=False
    )
    return ran.stdout.strip() or f"failed: {ran.stderr.strip().splitlines()[-1]}"


def main() -> None:
    print(f"Python {sys.version.split()[0]}\n")
    print(
        f"| program | at most | {' | '.join(WAYS)} |\n|---|---:|{'---:|' * len(WAYS)}"
    )
    for program, (_, limit) in PROGRAMS.items():
        ratios = [told(program.__name__, way) for way in WAYS]
        print(f"| {program.__doc__} | {limit} | {' | '.join(ratios)} |", flush=True)
    print("\n| program | notes | lanes read | and the loop's | reading 100,000 |")
    print("|---|---:|---:|---:|---:|")
    for program in PROGRAMS:
        print(f"| {program.__doc__} | {told(program.__name__)} |", flush=True)


def answer(program: str, way: str = "") -> None:
    known = {x.__name__: x for x in PROGRAMS}[program]
    if way:
        print(f"{ratio(known, WAYS[way]):.2f}")
    else:
        sizes = " | ".join(f"{x:.0f} B" for x in memory(known))
        print(f"{sizes} | {reading(known):.2f} s")


if __name__ == "__main__":
    answer(*sys.argv[1:]) if len(sys.argv) > 1 else main()
