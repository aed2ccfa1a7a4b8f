"""What answers do that are out for something else: to their grade, and to others.

All are in one folder and graded by one command, in boxes. Each learner's exercise 2.4a
is hostile, 2.4b is solved: so whoever loses a point there was hurt by a neighbour.
"""

import re
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from submissions import grade, lesson, submit

from lessons_support.grading import box

LESSON = lesson("2.4")
HOSTILE, SOLVED, *_ = LESSON.exercises

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


def processes():
    """The processes that a grader starts, by number and command."""
    names = ("bwrap", "lessons_support.grading.template", "54321")
    found = {(x.pid, str(x.info["cmdline"])) for x in psutil.process_iter(["cmdline"])}
    return {x for x in found if any(y in x[1] for y in names)}


BEFORE, FOLDERS = processes(), set(Path(tempfile.gettempdir()).glob("grade-*"))


@pytest.fixture(scope="session")
def graded(tmp_path_factory):
    folder, output = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("out")
    solved = {SOLVED.name: SOLVED.solution}
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = str(ours.getsockname()[1])
        for case in CASES.values():
            answer = case.code.replace("HOST_PORT", port)
            submit(folder, case.title, LESSON, solved | {HOSTILE.name: answer})
        return grade(output, folder, SECRET="of the grader")


@pytest.mark.parametrize("title", CASES)
def test_a_hostile_answer_gets_its_grade_and_a_reason(graded, title):
    line = graded.line(title, "2.4a")
    assert int(line["points"]) == CASES[title].points, line
    assert re.search(CASES[title].note, line["note"]), line
    if CASES[title].points == 3 and not CASES[title].note:
        assert line["note"] in ("", "The answer ends with SystemExit."), line


@pytest.mark.parametrize("title", CASES)
def test_its_neighbours_lose_nothing(graded, title):
    line = graded.line(title, SOLVED.name)
    assert line["points"] == line["claims asked"], line
    assert line["note"] == "", line


def test_the_command_ends_well_and_leaves_nothing(graded):
    assert graded.code == 0, graded.printed
    assert "Traceback" not in graded.printed
    end = time.monotonic() + 20  # on a busy machine a killed box takes a moment to go
    while processes() - BEFORE and time.monotonic() < end:
        time.sleep(0.1)
    assert not processes() - BEFORE
    assert not set(Path(tempfile.gettempdir()).glob("grade-*")) - FOLDERS


def test_a_hostile_answer_takes_its_own_time_only(graded):
    for line in graded.lines:
        assert float(line["seconds"]) < 100, line
