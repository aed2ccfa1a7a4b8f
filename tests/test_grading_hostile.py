"""What answers do that are out for something else: to their grade, and to others.

All are in one folder and graded by one command, in boxes. Each learner's first exercise
of a lesson is hostile, 2.4a or 3a; the second is solved: so whoever loses a point there
was hurt by a neighbour.
"""

import ctypes
import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from submissions import grade, lesson, submit

from lessons_support.grading import box
from lessons_support.grading.template import CHILDREN_COME_HERE

LESSONS = {one.exercises[0].name: one for one in map(lesson, ("2.4", "3"))}

pytestmark = [
    pytest.mark.equipment,
    pytest.mark.skipif(
        bool(box.why_not()), reason=f"hostile answers run boxed only. {box.why_not()}"
    ),
]


@dataclass(frozen=True)
class Case:
    """A hostile answer to an exercise, its points, and what the teacher is told."""

    title: str
    exercise: str
    points: int
    note: str
    code: str


def cases():
    text = Path(__file__).with_name("hostile.md").read_text()
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        title, name, points, note, code = re.fullmatch(
            r"(.+)\n\n(?:Exercise: (\S+)\. )?Points: (\d)\.(?: Note: (.+))?"
            r"\n\n```python\n(.*)```\n+",
            part,
            flags=re.S,
        ).groups()
        name = name or "2.4a"
        code = code.replace("RIGHT", LESSONS[name].exercises[0].solution)
        code = code.replace("DEEP", "(" * 100_000 + ")" * 100_000)
        yield Case(title, name, int(points), note or "", code)


CASES = {x.title: x for x in cases()}


def neighbour_of(case):
    return LESSONS[case.exercise].exercises[1]


def processes():
    """All that this process has started, and what they have; by number and command."""
    found = set()
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if one.status() != psutil.STATUS_ZOMBIE:
                found.add((one.pid, str(one.cmdline())))
    return found


@pytest.fixture(scope="session")
def before():
    """What is there before anything is graded: from then on, orphans come to us."""
    ctypes.CDLL(None).prctl(CHILDREN_COME_HERE, 1, 0, 0, 0)
    return processes()


@pytest.fixture(scope="session")
def graded(before, tmp_path_factory):
    folder, output = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("out")
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = str(ours.getsockname()[1])
        for case in CASES.values():
            answer = case.code.replace("HOST_PORT", port)
            theirs, neighbour = LESSONS[case.exercise], neighbour_of(case)
            given = {case.exercise: answer, neighbour.name: neighbour.solution}
            submit(folder, case.title, theirs, given)
        own = tmp_path_factory.mktemp("tmp")
        return grade(output, folder, SECRET="of the grader", TMPDIR=str(own))


@pytest.mark.parametrize("title", CASES)
def test_a_hostile_answer_gets_its_grade_and_a_reason(graded, title):
    line = graded.line(title, CASES[title].exercise)
    assert int(line["points"]) == CASES[title].points, line
    assert re.search(CASES[title].note, line["note"]), line
    if CASES[title].points == 3 and not CASES[title].note:
        assert line["note"] in ("", "The answer ends with SystemExit."), line


@pytest.mark.parametrize("title", CASES)
def test_its_neighbours_lose_nothing(graded, title):
    line = graded.line(title, neighbour_of(CASES[title]).name)
    assert line["points"] == line["claims asked"], line
    assert line["note"] == "", line


def test_the_command_ends_well_and_leaves_nothing(graded, before, tmp_path_factory):
    assert graded.code == 0, graded.printed
    assert "Traceback" not in graded.printed
    end = time.monotonic() + 20  # on a busy machine a killed box takes a moment to go
    while processes() - before and time.monotonic() < end:
        time.sleep(0.1)
    assert not processes() - before
    assert not list(tmp_path_factory.getbasetemp().glob("tmp*/grade-*"))


def test_a_hostile_answer_takes_its_own_time_only(graded):
    for line in graded.lines:
        assert float(line["seconds"]) < 100, line
