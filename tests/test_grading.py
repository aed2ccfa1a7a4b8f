"""The command `grade`, as a grader uses it: learners' answers in, verdicts out."""

import asyncio
import io
import os
import re
import shutil
import signal
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from submissions import LIMIT, Graded, grade, lesson, start, submit
from test_exercises import EXERCISES, answers

from lessons_support.grading import box, submission
from lessons_support.grading.command import main
from lessons_support.grading.grade import Task
from lessons_support.grading.judge import outcome
from lessons_support.grading.kernel import TEMPLATE
from lessons_support.grading.lesson import (
    Cell,
    binds,
    defines,
    lessons,
    read_lesson,
    reads,
)
from lessons_support.grading.session import Unusable, proved
from lessons_support.grading.store import Store

pytestmark = pytest.mark.equipment
boxed = pytest.mark.skipif(bool(box.why_not()), reason=box.why_not() or "boxed")


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """All lessons graded, once with a right and once with a wrong answer to each.

    So each exercise is also proved: its solution holds all claims, its frame none. Of
    one lesson there is a third notebook, as shipped. All answers are in test_exercises.
    """
    folder, output = tmp_path_factory.mktemp("in"), tmp_path_factory.mktemp("out")
    whose = {}
    submit(folder, "nobody", lesson("2.5"), {})
    for one in lessons().values():
        for learner, is_right in ("ann", True), ("bob", False):
            for exercise in one.exercises:
                found = (x for x in answers(exercise.name) if x.right == is_right)
                whose[learner, exercise.name] = next(found)
            theirs = {
                name: x.code for (who, name), x in whose.items() if who == learner
            }
            submit(folder, learner, one, theirs)
    return grade(output, folder), whose, folder


@boxed
def test_every_exercise_of_every_notebook_is_graded(course):
    graded, _, _ = course
    wanted = {name for _, name in EXERCISES}
    assert {x["exercise"] for x in graded.lines if x["learner"] == "ann"} == wanted


@boxed
def test_right_answers_get_all_points_and_no_note(course):
    graded, whose, _ = course
    right = [key for key, answer in whose.items() if answer.right]
    assert right
    for key in right:
        line = graded.line(*key)
        assert line["points"] == line["claims held"] == line["claims asked"], line
        assert line["note"] == "", line


@boxed
def test_wrong_answers_lose_the_points_of_the_claims_they_break(course):
    graded, whose, _ = course
    wrong = {key: x for key, x in whose.items() if not x.right}
    assert wrong
    for key, answer in wrong.items():
        line = graded.line(*key)
        assert int(line["points"]) <= int(line["claims asked"]) - len(answer.breaks)
        assert "Suspect" not in line["note"], line


@boxed
def test_what_was_not_attempted_gets_nothing_and_says_so(course):
    graded, whose, _ = course
    others = [x for x in graded.lines if (x["learner"], x["exercise"]) not in whose]
    assert others
    for line in others:
        assert line["points"] == "0"
        assert line["note"] == "Not attempted: the answer cell is as shipped."


@boxed
def test_each_learner_has_a_page_with_the_chart_of_their_own_run(course):
    graded, whose, _ = course
    assert graded.code == 0, graded.printed
    for learner in {x for x, _ in whose}:
        page = (graded.folder / learner / "feedback.html").read_text()
        # Some checks draw a chart only where there is something to be seen on it.
        shown = page.count("data:image/png;base64,")
        assert page.count("<h3>") >= shown > page.count("<h3>") / 2
        assert (graded.folder / learner / "results.json").exists()
    assert (graded.folder / "junit.xml").exists()
    assert re.search(r"^ann +2\.4 +a 3/3", graded.printed, re.M), graded.printed


@boxed
def test_the_same_line_again_makes_no_run(course):
    graded, _, folder = course
    before = {x: x.stat().st_mtime_ns for x in (graded.folder / "runs").iterdir()}
    lines = graded.lines
    again = grade(graded.folder, folder)
    assert again.code == 0, again.printed
    assert again.lines == lines
    after = {x: x.stat().st_mtime_ns for x in (graded.folder / "runs").iterdir()}
    assert after == before


@boxed
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_command_goes_on_where_it_stopped(tmp_path, name):
    one = lesson("2.5")
    for number in range(6):
        solved = {x.name: f"{x.solution}\n# {number}" for x in one.exercises}
        submit(tmp_path / "in", str(number), one, solved)
    store = tmp_path / "out" / "runs"
    own = tmp_path / "own"
    own.mkdir()
    process = start(tmp_path / "in", "--output", tmp_path / "out", TMPDIR=str(own))
    deadline = time.monotonic() + LIMIT
    while len(list(store.glob("*.json"))) < len(one.exercises) + 2:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "The same line goes on from here." in printed
    assert "Traceback" not in printed
    assert list(own.iterdir()) == []
    kept = {x: x.stat().st_mtime_ns for x in store.glob("*.json")}
    done = grade(tmp_path / "out", tmp_path / "in")
    assert done.code == 0, done.printed
    assert all(x["points"] == x["claims asked"] for x in done.lines)
    assert {x: x.stat().st_mtime_ns for x in kept} == kept


# --- what people do in notebooks

HABITS = {
    "inline": "%matplotlib inline\n",
    "autoreload": "%load_ext autoreload\n%autoreload 2\n",
    "plot": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n",
    "retina": "%config InlineBackend.figure_format = 'retina'\n",
}


TAGGED = {"tags": ["raises-exception"]}
SCRATCH = {
    "scratch error": ("asyncio.run(asyncio.sleep(0))", TAGGED),
    "scratch shell": ("%%bash\necho hello", {}),
    "scratch time": ("%%time\nsum(range(10))", {}),
    "scratch import": ("from __future__ import annotations\nimport math as m", {}),
}
MISSING = {
    "missing": "twice = ft.partial(int)\nSOLUTION",
    "missing inside": "async def load_page(*args):\n    return ft.partial(*args)",
}


@pytest.fixture(scope="module")
def habits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("habits")
    one = lesson("2.2")
    name, solution = one.exercises[0].name, one.exercises[0].solution
    for learner, (source, tags) in SCRATCH.items():
        given = f"assert m.pi\n{solution}" if "import" in learner else solution
        path = submit(folder, learner, one, {name: given})
        notebook = nbformat.read(path, as_version=4)
        at = [x.source for x in notebook.cells].index(given)
        notebook.cells.insert(at, new_code_cell(source, metadata=tags))
        nbformat.write(notebook, path)
    for learner, given in MISSING.items():
        path = submit(folder, learner, one, {name: given.replace("SOLUTION", solution)})
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[1].source += "\nimport functools as ft"
        nbformat.write(notebook, path)
    for learner, first in HABITS.items():
        given = {x.name: first + x.solution for x in one.exercises[:1]}
        submit(folder, learner, one, given)
    return grade(tmp_path_factory.mktemp("out"), folder)


@boxed
@pytest.mark.parametrize("learner", HABITS)
def test_habits_of_notebooks_are_no_forgery(learner, habits):
    line = habits.line(learner, "2.2a")
    assert (line["points"], line["note"]) == (line["claims asked"], ""), line


@boxed
@pytest.mark.parametrize("learner", SCRATCH)
def test_cells_beside_the_answer_do_it_no_harm(learner, habits):
    line = habits.line(learner, "2.2a")
    assert line["points"] == line["claims asked"], line
    assert line["note"] == "2 answer cells were run, one after the other.", line


@boxed
@pytest.mark.parametrize("learner", MISSING)
def test_a_name_from_another_cell_is_pointed_out(learner, habits):
    line = habits.line(learner, "2.2a")
    assert line["points"] == "0"
    assert "'ft' is defined outside the answer." in line["note"], line


# --- without a box


def only_python(tmp_path):
    """A folder for PATH without bubblewrap."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return str(folder)


def test_without_a_box_a_sentence_asks_for_a_flag(tmp_path):
    submit(tmp_path / "in", "ann", lesson("2.5"), {})
    done = grade(tmp_path / "out", tmp_path / "in", PATH=only_python(tmp_path))
    assert done.code == 2
    assert "bubblewrap is not installed" in done.printed
    assert "nothing would be boxed" in done.printed
    assert "add --unboxed" in done.printed
    assert "Traceback" not in done.printed


# --- which cells an answer builds on


@pytest.mark.parametrize(
    ("source", "is_defining"),
    [
        ("import asyncio\nfrom time import sleep", True),
        ("async def fetch(page): ...\n\n\nclass Page:\n    size = 3", True),
        ('HOURS = {"car": 3.0}', False),
        ("await main()", False),
        ("1 +", False),
        ("def cook():\n    await boil()", False),
    ],
)
def test_a_cell_that_only_defines_is_told_from_others(source, is_defining):
    assert defines(source) == is_defining


def test_what_a_cell_binds_and_reads_is_what_other_cells_see():
    source = "a = b\nasync def c(x):\n    d = e(x, a)\nwith f as g: print(g, await h)\n"
    assert binds(source) == {"a", "c", "g"}
    assert reads(source) == {"b", "e", "f", "h", "print"}


CHECK = """\
trial = rehearse(answer)
check(trial.result == needed, "gives what is needed")
check(trial.awaitable, "can be awaited")"""


def small_lesson(folder, *cells, solution="async def answer():\n    return needed\n"):
    """A lesson of one exercise, below these cells."""
    fold = "<details><summary>Solution</summary>\n\n"
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# 9 Small"),
            new_code_cell("from lessons_support import check, rehearse"),
            *map(new_code_cell, cells),
            new_markdown_cell("### Exercise 9a — The one"),
            new_code_cell("# Your turn\ndef answer(): ..."),
            new_code_cell(CHECK),
            new_markdown_cell(f"{fold}```python\n{solution}```\n\n</details>"),
        ]
    )
    nbformat.write(notebook, folder / "9-small.ipynb")
    return read_lesson(folder / "9-small.ipynb")


@pytest.fixture(scope="module", autouse=True)
def no_template_left():
    """Kernels that are made in this process are forked from a template of its own."""
    yield
    TEMPLATE.close()


@pytest.fixture
def prove(tmp_path):
    """Prove the exercise of a lesson, and give the task."""

    async def prove(lesson):
        task = Task(lesson, lesson.exercises[0], boxed=not box.why_not())
        return await proved(task, Store(tmp_path / "runs", outcome, 2))

    return lambda lesson: asyncio.run(prove(lesson))


def test_with_the_flag_it_grades_all_the_same(tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    small = small_lesson(tmp_path / "in", "needed = 1")
    monkeypatch.setattr(submission, "lessons", lambda: {small.name: small})
    monkeypatch.setenv("PATH", only_python(tmp_path))
    monkeypatch.setenv("COLUMNS", "400")
    hostile = nbformat.read(tmp_path / "in" / "9-small.ipynb", as_version=4)
    [frame] = [x for x in hostile.cells if x.source.startswith("# Your turn")]
    frame.source = "import os\nos._exit(1)"
    nbformat.write(hostile, tmp_path / "in" / "9-small-eve.ipynb")
    (tmp_path / "in" / "bob.ipynb").write_text("no notebook")
    output = tmp_path / "out"
    asked = ["grade", str(tmp_path / "in"), "--output", str(output), "--unboxed"]
    assert main(asked) == 1
    graded = Graded(1, capsys.readouterr().out, output)
    assert graded.line("eve", "9a")["note"] == "It ended its kernel."
    assert graded.line("in", "9a")["note"].startswith("Not attempted")
    assert graded.lines[-1]["note"].endswith("damaged. Ask for it again.")
    assert "bob.ipynb is not a notebook" in graded.printed


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_name_of_a_file_stops_the_others(encoding, tmp_path, monkeypatch):
    (tmp_path / "in" / "ann").mkdir(parents=True)
    small = small_lesson(tmp_path / "in" / "ann", "needed = 1")
    monkeypatch.setattr(submission, "lessons", lambda: {small.name: small})
    torn = tmp_path / "in" / os.fsdecode(b"m\xfcller") / "9-small.ipynb"
    torn.parent.mkdir()
    torn.write_text("torn")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    output = tmp_path / "out"
    where = [str(tmp_path / "in"), "--output", str(output), "--unboxed"]
    assert main(["grade", *where]) == 1
    assert [x["learner"] for x in Graded(1, "", output).lines] == ["ann", "m�ller"]
    terminal.flush()
    assert b"ller/9-small.ipynb" in terminal.buffer.getvalue().replace(b"\n", b"")


def test_an_exercise_is_run_below_the_cells_that_it_needs(prove, tmp_path):
    cells = "first = sum([1, 2])", "needed = first", "import time; time.sleep(1)"
    task = prove(small_lesson(tmp_path, *cells, "def one():\n    return 1", "2 + 2"))
    assert task.claims == ("gives what is needed", "can be awaited")
    assert not task.below_all
    [before] = task.job(Cell("code", "one")).before
    assert [x in before for x in (*cells, "def one", "2 + 2")] == [1, 1, 0, 1, 0]


def test_an_answer_may_name_what_other_cells_have_made(prove, tmp_path):
    small = small_lesson(tmp_path, "needed = 1", "mine = 2", "async def one(): ...")
    task = Task(small, small.exercises[0])
    for answer, has_it in (
        ("async def answer():\n    return mine", True),
        ("async def answer():\n    mine = 1\n    return mine", False),
        ("async def answer(mine):\n    return mine", False),
        ("!ls mine", True),
        ("(" * 50_000 + "mine", True),
    ):
        assert ("mine = 2" in task.job(Cell("code", answer)).before[0]) == has_it


def test_below_all_cells_where_less_proves_nothing(prove, tmp_path):
    solution = "async def answer():\n    return [1]\n"
    cells = "needed = []", "needed.append(1)"
    task = prove(small_lesson(tmp_path, *cells, solution=solution))
    assert task.below_all
    assert task.claims == ("gives what is needed", "can be awaited")


def test_a_lesson_whose_own_solution_fails_is_not_graded(prove, tmp_path):
    broken = "async def answer():\n    return 2\n"
    with pytest.raises(Unusable, match="own solution of exercise 9a does not pass"):
        prove(small_lesson(tmp_path, "needed = 1", solution=broken))


def test_a_frame_that_holds_a_claim_proves_nothing(prove, tmp_path):
    with pytest.raises(Unusable):
        prove(small_lesson(tmp_path, "needed = None"))


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is missing")
def test_a_box_that_cannot_be_made_says_why(monkeypatch):
    monkeypatch.setattr(box, "command", lambda: ["bwrap", "--no-such-thing"])
    assert "bubblewrap cannot make a box here: bwrap: Unknown option" in box.why_not()
