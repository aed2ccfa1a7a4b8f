"""What answers do that are out for something else: to their grade, and to others.

All are in one folder and graded by one command, in boxes. Each learner's exercise 2.4a
is hostile, all else is solved: so whoever loses a point there was hurt by a neighbour.
"""

import csv
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
import pytest

from lessons_support.grading import box
from lessons_support.grading.lesson import FOLDER, read_lesson

LESSON = read_lesson(FOLDER / "2.4-executing-tasks-with-gather.ipynb")
HOSTILE = LESSON.exercises[0]
LIMIT = 900  # seconds for all

pytestmark = pytest.mark.skipif(
    bool(box.why_not()), reason=f"hostile answers run boxed only. {box.why_not()}"
)


@dataclass(frozen=True)
class Case:
    """A hostile answer, the points that it gets, and what the teacher is told."""

    title: str
    points: int
    note: str
    code: str


def cases():
    text = Path(__file__).with_name("hostile.md").read_text()
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        title, points, note, code = re.fullmatch(
            r"(.+)\n\nPoints: (\d)\.(?: Note: (.+))?\n\n```python\n(.*)```\n+",
            part,
            flags=re.S,
        ).groups()
        code = code.replace("RIGHT", HOSTILE.solution)
        code = code.replace("DEEP", "(" * 100_000 + ")" * 100_000)
        yield Case(title.strip(), int(points), note or "", code)


CASES = {x.title: x for x in cases()}


def submit(path, answer):
    """Write a submission: all solved, but for the hostile answer."""
    notebook = nbformat.read(FOLDER / f"{LESSON.name}.ipynb", as_version=4)
    given = {x.frame: x.solution for x in LESSON.exercises} | {HOSTILE.frame: answer}
    for cell in notebook.cells:
        cell.source = given.get(cell.source, cell.source)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


@dataclass(frozen=True)
class Graded:
    """What the command left: its output, and the lines of grades.csv."""

    code: int
    printed: str
    folder: Path
    lines: tuple
    left: tuple

    def line(self, learner, exercise):
        [found] = [
            x
            for x in self.lines
            if (x["learner"], x["exercise"]) == (learner, exercise)
        ]
        return found


def processes():
    """The processes that a grader starts, by number."""
    names = ("bwrap", "lessons_support.grading.template", "54321")
    found = psutil.process_iter(["cmdline"])
    return {x.pid for x in found if any(y in str(x.info["cmdline"]) for y in names)}


@pytest.fixture(scope="session")
def graded(tmp_path_factory):
    folder, output = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("out")
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = str(ours.getsockname()[1])
        for case in CASES.values():
            path = folder / case.title / f"{LESSON.name}.ipynb"
            submit(path, case.code.replace("HOST_PORT", port))
        before = processes()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "lessons_support.grading.command", "grade"),
                *(folder, "--output", output),
            ],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            env={**os.environ, "SECRET": "of the grader", "COLUMNS": "400"},
        )
    time.sleep(1)
    with (output / "grades.csv").open(encoding="utf-8") as file:
        lines = tuple(csv.DictReader(file))
    printed = done.stdout + done.stderr
    left = tuple(processes() - before)
    return Graded(done.returncode, printed, output, lines, left)


@pytest.mark.parametrize("title", CASES)
def test_a_hostile_answer_gets_its_grade_and_a_reason(graded, title):
    line = graded.line(title, "2.4a")
    assert int(line["points"]) == CASES[title].points, line
    assert re.search(CASES[title].note, line["note"]), line
    if CASES[title].points == 3 and not CASES[title].note:
        assert line["note"] in ("", "The answer ends with SystemExit."), line


@pytest.mark.parametrize("title", CASES)
def test_its_neighbours_lose_nothing(graded, title):
    for one in LESSON.exercises[1:]:
        line = graded.line(title, one.name)
        assert line["points"] == line["claims asked"], line
        assert line["note"] == "", line


def test_the_command_ends_well_and_leaves_nothing(graded):
    assert graded.code == 0, graded.printed
    assert "Traceback" not in graded.printed
    assert graded.left == ()
    assert not list(Path("/tmp").glob("grade-*"))


def test_a_hostile_answer_takes_its_own_time_only(graded):
    for line in graded.lines:
        assert float(line["seconds"]) < 100, line
