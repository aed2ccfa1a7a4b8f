"""How many submissions of a lesson are graded in a minute, beside nbgrader and otter.

`python tests/benchmarks/grading.py [SUBMISSIONS] [FOR_THE_OTHERS]`, with the Python of
an environment that has the course, nbgrader and otter-grader. The same submissions are
given to each, start-up included; the others, being slow, may get only the first few.
Otter cannot run async tests, so its tests rehearse and compare, which is no async code.
The floor is what as many kernels take, one for each answer, that import what the lesson
needs, do nothing and end: forked into boxes, and started as usual.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from submissions import filled, lesson, submit
from test_exercises import answers

from lessons_support.grading.kernel import TEMPLATE, BoxedKernel, Client, OrdinaryKernel
from lessons_support.grading.lesson import imports
from lessons_support.grading.nbgrader import export

LESSON = lesson("2.4")
BIN = Path(sys.executable).parent


def mixed(number):
    """Answers of one learner: some right, some wrong, no two learners' alike."""
    draw = random.Random(number)
    return {
        x.name: draw.choice([x.solution, *(y.code for y in answers(x.name))])
        + f"\n# {number}"
        for x in LESSON.exercises
    }


def timed(name, number, *command, folder):
    """Run a command; what it took, a line for the table."""
    cpu, begin = children(), time.perf_counter()
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    took, cpu = time.perf_counter() - begin, children() - cpu
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:])
    return row(name, number, took, f"{cpu / number:.2f}")


def row(name, number, took, cpu=""):
    """Print a line of the table; how many there are in a minute."""
    rate = 60 * number / took
    print(f"| {name} | {number} | {took:.1f} | {rate:.1f} | {cpu} |", flush=True)
    return rate


def children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(number, folder):
    for one in range(number):
        submit(folder / "in", f"learner{one:04}", LESSON, mixed(one))
    command = (sys.executable, "-m", "lessons_support.grading.command", "grade")
    return timed("this", number, *command, "in", "--output", "out", folder=folder)


def nbgrader(number, folder):
    for path in export(folder / "source" / "ps"):
        if path.stem != LESSON.name:
            path.unlink()
    subprocess.run(
        [BIN / "nbgrader", "generate_assignment", "ps"],
        cwd=folder,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
    )
    released = folder / "release" / "ps" / f"{LESSON.name}.ipynb"
    for one in range(number):
        notebook, given = nbformat.read(released, as_version=4), mixed(one)
        frames = {x.frame: given[x.name] for x in LESSON.exercises}
        for cell in notebook.cells:
            cell.source = frames.get(cell.source, cell.source)
        place = folder / "submitted" / f"learner{one:04}" / "ps"
        place.mkdir(parents=True)
        nbformat.write(notebook, place / released.name)
        for name, text in LESSON.files:
            (place / name).write_text(text)
    return timed("nbgrader", number, BIN / "nbgrader", "autograde", "ps", folder=folder)


OTTER = {
    "2.4a": "rehearse(fetch_all, fetch, ['news', 'mail', 'map']).elapsed == 2.0",
    "2.4b": "rehearse(report, fetch_or_fail, ['news', 'mail']).elapsed == 2.0",
    "2.4c": "rehearse(fetch_few, fetch, list('abcdef'), 3).most_in_flight == 3",
    "2.4d": "rehearse(book_trip, book, ['flight', 'hotel']).elapsed == 1.0",
}


def otter(number, folder):
    (folder / "tests").mkdir()
    for name, claim in OTTER.items():
        case = {"code": f">>> {claim}\nTrue", "hidden": False, "locked": False}
        suite = {"cases": [case], "scored": True, "type": "doctest"}
        test = {"name": name, "points": 1, "suites": [suite]}
        path = folder / "tests" / f"q{name.replace('.', '')}.py"
        path.write_text(f"OK_FORMAT = True\ntest = {test!r}")
    files = []
    for name, text in LESSON.files:
        (folder / name).write_text(text)
        files.append(name)
    (folder / "out").mkdir()
    make = ["generate", "-t", "tests", "-o", "all.zip", "--no-environment", *files]
    subprocess.run([BIN / "otter", *make], cwd=folder, check=True, capture_output=True)
    for one in range(number):
        nbformat.write(filled(LESSON, mixed(one)), folder / f"learner{one:04}.ipynb")
    each = 'for x in learner*.ipynb; do otter run -a all.zip "$x" -o out; done'
    return timed("otter run", number, "bash", "-c", each, folder=folder)


def forked(number, folder):
    try:
        return floor("floor, forked", number, BoxedKernel)
    finally:
        TEMPLATE.close()


def started(number, folder):
    """Each has its sockets in a folder of its own."""

    def kernel():
        return OrdinaryKernel(folder, Path(tempfile.mkdtemp(dir=folder)))

    return floor("floor, started", number, kernel)


def floor(name, number, kernel):
    places = asyncio.Semaphore(2 * os.cpu_count())
    above = {cell for one in LESSON.exercises for cell in one.above}
    lines = {line for cell in above for line in imports(cell)}
    own = {Path(name).stem for name, _ in LESSON.files}  # a run would write them
    needed = "\n".join(sorted(x for x in lines if not own & {*x.split()}))

    async def empty_run():
        cell = nbformat.v4.new_code_cell(needed)
        notebook = nbformat.v4.new_notebook(cells=[cell])
        async with places, Client(notebook, kernel()) as client:
            await client.run(cell, 0)

    async def all_of_them():
        await asyncio.gather(*(empty_run() for _ in range(number) for _ in OTTER))

    begin = time.perf_counter()
    asyncio.run(all_of_them())
    return row(name, number, time.perf_counter() - begin)


def main():
    number, few = [*map(int, sys.argv[1:]), 60, 60][:2]
    print("| grader | submissions | s | a minute | CPU s each |")
    print("|---|---:|---:|---:|---:|")
    rates = {}
    plan = {ours: number, forked: number, started: few, nbgrader: few, otter: few}
    for grade, many in plan.items():
        with tempfile.TemporaryDirectory() as folder:
            rates[grade.__name__] = grade(many, Path(folder))
    print(f"{rates['ours'] / rates['forked']:.0%} of the floor's throughput")
    for other in ("started", "nbgrader", "otter"):
        print(f"{rates['ours'] / rates[other]:.1f} times as many as {other}")


if __name__ == "__main__":
    main()
