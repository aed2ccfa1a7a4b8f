"""The command `grade`, as a grader uses it: learners' answers in, verdicts out."""

import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from submissions import LIMIT, grade, lesson, start, submit
from test_exercises import answers

from lessons_support.grading import box
from lessons_support.grading.engine import Engine
from lessons_support.grading.grade import Broken, Store, prepared
from lessons_support.grading.lesson import bound, lessons, read_lesson, runs

MOST_WRONG = 3  # of each exercise; all are judged one by one in test_exercises

boxed = pytest.mark.skipif(bool(box.why_not()), reason=box.why_not() or "boxed")


def given(exercise):
    """Answers to an exercise: all right ones, and a few wrong ones."""
    found = list(answers(exercise.name))
    wrong = [x for x in found if not x.right]
    return [x for x in found if x.right] + wrong[:MOST_WRONG]


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """All lessons graded: learner 0 has the first answer to everything, and so on."""
    folder, output = tmp_path_factory.mktemp("in"), tmp_path_factory.mktemp("out")
    whose = {}
    submit(folder, "nobody", lesson("2.5"), {})
    for one in lessons().values():
        rows = zip_longest(*(given(x) for x in one.exercises))
        for number, row in enumerate(rows):
            theirs = dict(zip((x.name for x in one.exercises), row, strict=True))
            theirs = {name: x for name, x in theirs.items() if x is not None}
            submit(folder, str(number), one, {n: x.code for n, x in theirs.items()})
            whose |= {(str(number), name): x for name, x in theirs.items()}
    return grade(output, folder), whose, folder


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
        assert page.count("<h3>") == page.count("data:image/png;base64,")
        assert (graded.folder / learner / "results.json").exists()
    assert (graded.folder / "junit.xml").exists()
    assert re.search(r"^0 +2\.4 +a 3/3", graded.printed, re.M), graded.printed


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
def test_an_interrupted_command_goes_on_where_it_stopped(tmp_path):
    one = lesson("2.5")
    for number in range(6):
        solved = {x.name: f"{x.solution}\n# {number}" for x in one.exercises}
        submit(tmp_path / "in", str(number), one, solved)
    store = tmp_path / "out" / "runs"
    process = start(tmp_path / "in", "--output", tmp_path / "out")
    deadline = time.monotonic() + LIMIT
    while len(list(store.glob("*.json"))) < 2 * len(one.exercises) + 2:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "The same line goes on from here." in printed
    assert "Traceback" not in printed
    kept = {x: x.stat().st_mtime_ns for x in store.glob("*.json")}
    done = grade(tmp_path / "out", tmp_path / "in")
    assert done.code == 0, done.printed
    assert all(x["points"] == x["claims asked"] for x in done.lines)
    assert {x: x.stat().st_mtime_ns for x in kept} == kept


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


def test_with_the_flag_it_grades_all_the_same(tmp_path):
    one = lesson("2.5")
    right = {x.name: x.solution for x in one.exercises}
    submit(tmp_path / "in", "ann", one, right | {"2.5c": "import os\nos._exit(1)"})
    path = only_python(tmp_path)
    done = grade(tmp_path / "out", tmp_path / "in", "--unboxed", PATH=path)
    assert done.code == 0, done.printed
    marks = {x["exercise"]: x["points"] for x in done.lines}
    assert marks == {"2.5a": "6", "2.5b": "3", "2.5c": "0"}
    assert done.line("ann", "2.5c")["note"] == "It ended its kernel."
    assert (tmp_path / "out" / "results.json").exists()


def test_what_does_not_fit_is_told_and_the_rest_is_graded(tmp_path):
    one = lesson("2.5")
    submit(tmp_path / "in", "ann", one, {})
    (tmp_path / "in" / "bob.ipynb").write_text("no notebook")
    done = grade(tmp_path / "out", tmp_path / "in", "--unboxed")
    assert done.code == 1
    assert "bob.ipynb is not a notebook" in done.printed
    assert done.lines[-1]["note"].endswith("damaged. Ask for it again.")
    assert len(done.lines) == len(one.exercises) + 1


# --- which cells an answer builds on


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "async def fetch(page): ...",
        "class Page:\n    size = 3",
        'HOURS = {"car": 3.0}\ngiven_back = []',
        "app = FastAPI()",
        "double = lambda x: two(x)",
        '"words"',
    ],
)
def test_a_cell_that_only_defines_does_not_run(source):
    assert not runs(source)


@pytest.mark.parametrize(
    "source",
    [
        "await main()",
        "print(1)",
        "orders = [cook('soup', 0.5)]",
        "with record() as timeline:\n    pass",
        "1 +",
        "%time 1",
        "for x in y: pass",
    ],
)
def test_a_cell_that_acts_runs(source):
    assert runs(source)


def test_the_names_that_a_cell_binds_are_those_at_its_top():
    source = "a = b = 1\nasync def c():\n    d = 2\nwith x as e: f = 3\n"
    assert bound(source) == {"a", "b", "c", "e", "f"}


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


@pytest.fixture
def prove(tmp_path):
    """Prove the exercise of a lesson, and give the task."""
    pool, store = ThreadPoolExecutor(2), Store(tmp_path / "runs")

    def prove(lesson):
        is_boxed = not box.why_not()
        return prepared(lesson.exercises[0], lesson, is_boxed, pool, store)

    yield prove
    pool.shutdown()
    Engine.here().close()


def test_cells_that_run_are_left_out_where_the_proof_holds(prove, tmp_path):
    task = prove(small_lesson(tmp_path, "needed = 1", "import time; time.sleep(1)"))
    assert task.claims == ("gives what is needed", "can be awaited")
    assert "sleep" not in "".join(task.before)


def test_cells_that_run_are_run_where_an_exercise_needs_them(prove, tmp_path):
    task = prove(small_lesson(tmp_path, "needed = sum([1, 2])"))
    assert "needed = sum([1, 2])" in task.before
    assert task.claims == ("gives what is needed", "can be awaited")


def test_a_lesson_whose_own_solution_fails_is_not_graded(prove, tmp_path):
    broken = "async def answer():\n    return 2\n"
    with pytest.raises(Broken, match="own solution of exercise 9a does not pass"):
        prove(small_lesson(tmp_path, "needed = 1", solution=broken))


def test_a_frame_that_holds_a_claim_proves_nothing(prove, tmp_path):
    with pytest.raises(Broken):
        prove(small_lesson(tmp_path, "needed = None"))


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is missing")
def test_a_box_that_cannot_be_made_says_why(monkeypatch):
    monkeypatch.setattr(box, "command", lambda: ["bwrap", "--no-such-thing"])
    assert "bubblewrap cannot make a box here: bwrap: Unknown option" in box.why_not()
