"""What a rehearsal costs beyond the learner's own computing, in milliseconds.

`python tests/benchmarks/rehearsing.py`. The same program is run bare on the same kind
of loop, so that only the machinery remains: thread, recording, timeline, findings. Each
figure is the median of some runs, and the longest; the target is 50 ms.
"""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter

from lessons_support.fastforward import Clock, FastForwardLoop
from lessons_support.rehearsal import rehearse

RUNS = 30


async def fetch(name):
    await asyncio.sleep(1 + len(name) / 10)
    return name


async def three():
    return await asyncio.gather(fetch("a"), fetch("bb"), fetch("ccc"))


async def a_year_of_days():
    for _ in range(365):
        await asyncio.sleep(86_400)


async def a_hundred_tasks():
    await asyncio.gather(*[fetch("x" * n) for n in range(100)])


async def a_thousand_tasks():
    await asyncio.gather(*[fetch("x" * n) for n in range(1000)])


async def stuck():
    await asyncio.Event().wait()


async def in_a_row(fetch, names):
    return [await fetch(name) for name in names]


def bare(function, *args):
    """Real seconds of the program alone."""
    loop = FastForwardLoop(Clock())
    begin = perf_counter()
    try:
        loop.run_until_complete(function(*args))
    finally:
        took = perf_counter() - begin
        loop.close()
    return took


def rehearsed(function, *args):
    """Real seconds of the rehearsal, with its findings."""
    begin = perf_counter()
    _ = rehearse(function, *args).findings
    return perf_counter() - begin


def milliseconds(measure, *program):
    measure(*program)
    times = [1000 * measure(*program) for _ in range(RUNS)]
    return median(times), max(times)


def main():
    programs = [
        (three,),
        (in_a_row, fetch, ["a", "b", "c"]),
        (in_a_row, fetch, [str(n) for n in range(50)]),
        (a_year_of_days,),
        (a_hundred_tasks,),
        (a_thousand_tasks,),
    ]
    print("| program | bare | rehearsed | longest | beyond (target 50 ms) |")
    print("|---|---:|---:|---:|---:|")
    for program in programs:
        alone, _ = milliseconds(bare, *program)
        whole, longest = milliseconds(rehearsed, *program)
        figures = f"{alone:.1f} | {whole:.1f} | {longest:.1f} | {whole - alone:.1f}"
        print(f"| {program[0].__name__} | {figures} |", flush=True)
    whole, longest = milliseconds(rehearsed, stuck)
    print(f"| stuck | | {whole:.1f} | {longest:.1f} | {whole:.1f} |")


if __name__ == "__main__":
    main()
