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
import psutil
import pytest
from submissions import filled, grade, lesson, start, submit
from test_exercises import answers

from lessons_support.grading import box
from lessons_support.grading.nbgrader import export, with_points

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
    learners = {"ann": SOLVED, "bob": MIXED, "eve": {}}
    for learner, given in learners.items():
        hand_in(tmp_path, learner, given)
        submit(tmp_path / "in", learner, LESSON, given)
    run("nbgrader", "autograde", "ps", folder=tmp_path)
    run("nbgrader", "export", folder=tmp_path)
    with (tmp_path / "grades.csv").open() as file:
        theirs = {x["student_id"]: float(x["score"]) for x in csv.DictReader(file)}
    ours = dict.fromkeys(learners, 0)
    arguments = ["--unboxed"] if box.why_not() else []
    for line in grade(tmp_path / "out", tmp_path / "in", *arguments).lines:
        ours[line["learner"]] += int(line["points"])
    assert ours == theirs
    assert ours["ann"] > ours["bob"] > ours["eve"] == 0


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
