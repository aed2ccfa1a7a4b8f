"""The same notebooks with the tools that graders know: the same points.

nbgrader and Dask have an environment of their own, `.venv-others`, which `.ci/run`
makes from `tests/others.txt`. Without it these tests are skipped.
"""

import csv
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from submissions import Graded, filled, grade, lesson, submit
from test_exercises import answers

from lessons_support.grading import box
from lessons_support.grading.nbgrader import export, with_points

pytestmark = pytest.mark.equipment

PROJECT = Path(__file__).resolve().parent.parent
OTHERS = PROJECT / ".venv-others" / "bin"
LIMIT = 600  # seconds for one command
LESSON = lesson("2.5")

others = pytest.mark.skipif(
    not (OTHERS / "nbgrader").exists(),
    reason="no .venv-others with nbgrader and Dask: see tests/others.txt",
)


def wrong(exercise):
    """The first wrong answer to an exercise."""
    return next(x for x in answers(exercise.name) if not x.right)


MIXED = {LESSON.exercises[0].name: wrong(LESSON.exercises[0]).code} | {
    x.name: x.solution for x in LESSON.exercises[1:]
}
SOLVED = {x.name: x.solution for x in LESSON.exercises}


def run(*command, folder, **variables):
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, "PATH": f"{OTHERS}:{os.environ['PATH']}", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# --- nbgrader


def test_a_check_ends_with_its_points():
    source = "trial = rehearse(f)\ncheck(True, 'a')\ndraw(\n    trial,\n)"
    assert with_points(source) == (
        "from lessons_support.grading.nbgrader import Points\n\n"
        "check = Points()\n"
        "trial = rehearse(f)\ncheck(True, 'a')\ndisplay(draw(\n    trial,\n))\n"
        "check.held"
    )


def hand_in(course, learner, given):
    """Fill the released notebook in, as a learner does, and hand it in."""
    notebook = nbformat.read(
        course / "release" / "ps" / f"{LESSON.name}.ipynb", as_version=4
    )
    frames = {x.frame: given[x.name] for x in LESSON.exercises if x.name in given}
    for cell in notebook.cells:
        cell.source = frames.get(cell.source, cell.source)
    folder = course / "submitted" / learner / "ps"
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{LESSON.name}.ipynb")
    for name, text in LESSON.files:
        (folder / name).write_text(text)


@others
def test_stock_nbgrader_gives_the_same_points(tmp_path):
    source = tmp_path / "source" / "ps"
    for path in export(source):
        if path.stem != LESSON.name:
            path.unlink()
    run("nbgrader", "generate_assignment", "ps", folder=tmp_path)
    hand_in(tmp_path, "ann", MIXED)
    submit(tmp_path / "in", "ann", LESSON, MIXED)
    run("nbgrader", "autograde", "ps", folder=tmp_path)
    run("nbgrader", "export", folder=tmp_path)
    with (tmp_path / "grades.csv").open() as file:
        [theirs] = csv.DictReader(file)
    arguments = ["--unboxed"] if box.why_not() else []
    lines = grade(tmp_path / "out", tmp_path / "in", *arguments).lines
    ours = [int(x["points"]) for x in lines]
    assert sum(ours) == float(theirs["score"])
    assert 0 < sum(ours) < sum(int(x["claims asked"]) for x in lines)


# --- nbval and jupyter execute


def test_a_solved_notebook_passes_nbval_and_shows_its_ticks(tmp_path):
    path = tmp_path / "solved.ipynb"
    nbformat.write(filled(LESSON, SOLVED), path)
    for name, text in LESSON.files:
        (tmp_path / name).write_text(text)
    options = ("--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider")
    printed = run(sys.executable, "-m", "pytest", *options, path, folder=tmp_path)
    assert re.search(r"\d+ passed", printed)
    execute = ("jupyter", "execute", "--inplace", path)
    run(sys.executable, "-m", *execute, folder=tmp_path)
    told = [
        output.text
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream"
    ]
    claims = sum(len(x.claims) for x in LESSON.exercises)
    assert "".join(told).count("✓ ") == claims
    assert "✗" not in "".join(told)


# --- Dask


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two worker processes; the scheduler's address, and both."""
    address = f"tcp://127.0.0.1:{free_port()}"
    log = (tmp_path / "cluster.log").open("w")

    def begin(name, *options):
        module = f"distributed.cli.dask_{name}"
        return subprocess.Popen(
            [OTHERS / "python", "-m", module, *options],
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    quiet = ("--no-dashboard",)
    running = [
        begin("scheduler", "--host", "127.0.0.1", "--port", address[-5:], *quiet)
    ]
    options = ("--no-nanny", "--nthreads", "2", "--local-directory", tmp_path, *quiet)
    running += [begin("worker", address, *map(str, options)) for _ in range(2)]
    yield address, running[1:]
    for process in running:
        process.kill()
        process.wait()
    log.close()


@others
@pytest.mark.skipif(bool(box.why_not()), reason=box.why_not() or "boxed")
def test_a_cluster_loses_nothing_when_a_worker_is_killed(cluster, tmp_path):
    address, workers = cluster
    for number in range(4):
        given = {x: f"{y}\n# {number}" for x, y in SOLVED.items()}
        submit(tmp_path / "in", str(number), LESSON, given)
    command = [OTHERS / "python", "-P", "-m", "lessons_support.grading.command"]
    arguments = ["grade", tmp_path / "in", "--output", tmp_path / "out"]
    grading = subprocess.Popen(
        list(map(str, [*command, *arguments, "--scheduler", address])),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    store = tmp_path / "out" / "runs"
    deadline = time.monotonic() + LIMIT
    while len(list(store.glob("*.json"))) < len(LESSON.exercises) + 2:
        assert grading.poll() is None, grading.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers[0].send_signal(signal.SIGKILL)
    printed, _ = grading.communicate(timeout=LIMIT)
    assert grading.returncode == 0, printed
    lines = Graded(0, printed, tmp_path / "out").lines
    assert len(lines) == 4 * len(LESSON.exercises)
    for line in lines:
        assert line["points"] == line["claims asked"], line


@others
def test_a_scheduler_that_is_not_there_gets_a_sentence(tmp_path):
    submit(tmp_path / "in", "ann", LESSON, {})
    done = subprocess.run(
        [
            *(OTHERS / "python", "-m", "lessons_support.grading.command", "grade"),
            *(tmp_path / "in", "--scheduler", f"tcp://127.0.0.1:{free_port()}"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "No scheduler answers at tcp://127.0.0.1:" in done.stderr
    assert "Traceback" not in done.stderr
