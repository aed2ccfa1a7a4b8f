"""Progress: noted in a kernel of JupyterLab's, nowhere else; read back as a table."""

import asyncio
import csv
import json
import shutil

import nbformat
import pytest
from kernels import kernel
from lessons import FOLDER, NOTEBOOKS, calls, exercises, read
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lessons_support.course import claims_by_exercise
from lessons_support.progress import FILE, lessons, overview, table, to_go_on_with
from lessons_support.workbook import lay_out

[PATH] = [x for x in NOTEBOOKS if x.name.startswith("2.4-")]
CLAIMS = tuple(sorted(claims_by_exercise()["2.4a"]))
IMPORT = "from lessons_support import check"


def checking(claims, *broken):
    """A cell that checks claims, of which some do not hold; and what it prints."""
    lines = [f"check({x not in broken}, {x!r})" for x in claims]
    printed = "".join(f"{'✗' if x in broken else '✓'} {x}\n" for x in claims)
    return "\n".join([IMPORT, *lines]), printed


RIGHT, TICKED = checking(CLAIMS)
WRONG, CROSSED = checking(CLAIMS, CLAIMS[1])


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A learner's copy of a lesson, with the variable that Jupyter's server sets."""
    copy = shutil.copy(PATH, tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", str(copy))
    return tmp_path / PATH.name


async def run(folder, *cells):
    """What each cell prints, run under an id as JupyterLab does."""
    printed = []
    async with kernel(folder) as client:
        for cell_id, source in cells:
            shown = []
            message = client.session.msg(
                "execute_request",
                {"code": source, "silent": False, "store_history": True},
                metadata={"cellId": cell_id},
            )
            client.shell_channel.send(message)
            while True:
                reply = await client.get_iopub_msg(timeout=60)
                if reply["parent_header"].get("msg_id") != message["msg_id"]:
                    continue
                if reply["msg_type"] == "stream":
                    shown.append(reply["content"]["text"])
                elif reply["content"].get("execution_state") == "idle":
                    break
            printed.append("".join(shown))
    return printed


def ids(path):
    """The ids of the check cells, in order."""
    cells = nbformat.read(path, 4).cells
    return [cells[x.check.number - 1].id for x in exercises(read(path))]


def rows(folder):
    with (folder / FILE).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add(path, index, cell_id, source=""):
    """Write a code cell of the learner's own into a lesson."""
    notebook = nbformat.read(path, 4)
    notebook.cells.insert(index, new_code_cell(source, id=cell_id))
    nbformat.write(notebook, path)


def test_every_exercise_has_the_claims_that_its_check_makes():
    found = [x for path in NOTEBOOKS for x in exercises(read(path))]
    made = {
        x.name: {" ".join(y.args[1].value.split()) for y in calls(x.check, "check")}
        for x in found
    }
    assert claims_by_exercise() == made
    assert all(2 <= len(x) <= 6 for x in made.values())


def test_checks_are_noted_with_their_exercise(own):
    first, second, *_ = ids(own)
    others = sorted(claims_by_exercise()["2.4b"])
    _, no, yes, _ = asyncio.run(
        run(
            own.parent,
            ("x", IMPORT),
            (first, WRONG),
            (first, RIGHT),
            (second, checking(others, others[0])[0]),
        )
    )
    assert no == CROSSED
    assert yes == f"{TICKED}Exercise 2.4a is done.\n"
    noted = [(x["exercise"], x["held"], x["asked"]) for x in rows(own.parent)]
    assert noted == [("2.4a", "2", "3"), ("2.4a", "3", "3"), ("2.4b", "2", "3")]
    [lesson] = lessons(own.parent)
    assert lesson.done == {"2.4a"}
    assert lesson.next == "2.4b"


def test_a_check_that_is_no_exercises_is_not_noted(own):
    [first, *_] = ids(own)
    add(own, read(own).cells.index(exercises(read(own))[0].solution), "scratch")
    tried, printed = checking(["I try what check does"])
    cells = [("unknown", RIGHT), ("scratch", tried), (first, tried)]
    assert asyncio.run(run(own.parent, *cells)) == [TICKED, printed, printed]
    assert not (own.parent / FILE).exists()


@pytest.mark.parametrize(
    "end", ["1 / 0", "import asyncio\nraise asyncio.CancelledError", "raise SystemExit"]
)
@pytest.mark.parametrize("after", [1, 3])
def test_a_check_that_breaks_off_is_not_done(own, after, end):
    source, printed = checking(CLAIMS[:after])
    cells = [(ids(own)[0], f"{source}\n{end}")]
    [told] = asyncio.run(run(own.parent, *cells))
    assert told.startswith(printed)
    assert "is done" not in told
    assert not (own.parent / FILE).exists()


@pytest.mark.parametrize(
    ("source", "held"),
    [(checking(CLAIMS[:2])[0], "2"), (f"{RIGHT}\ncheck(False, {CLAIMS[0]!r})", "2")],
    ids=["one claim is left out", "one claim holds once and once not"],
)
def test_only_all_claims_make_an_exercise_done(own, source, held):
    [told] = asyncio.run(run(own.parent, (ids(own)[0], source)))
    assert "is done" not in told
    assert [(x["held"], x["asked"]) for x in rows(own.parent)] == [(held, "3")]
    assert lessons(own.parent)[0].done == set()


def test_a_copy_of_the_check_with_a_claim_of_ones_own_makes_it_done(own):
    add(own, read(own).cells.index(exercises(read(own))[0].solution), "copy")
    source = f"{RIGHT}\ncheck(False, 'my own')"
    [told] = asyncio.run(run(own.parent, ("copy", source)))
    assert told == f"{TICKED}✗ my own\nExercise 2.4a is done.\n"
    assert lessons(own.parent)[0].done == {"2.4a"}


def test_a_lesson_that_is_older_than_the_course_can_be_done(tmp_path, monkeypatch):
    older, mine = tmp_path / "older", tmp_path / "mine"
    older.mkdir()
    lesson = nbformat.read(PATH, 4)
    check = lesson.cells[exercises(read(PATH))[0].check.number - 1]
    check.source, printed = checking(old := ["an old claim", "another", CLAIMS[0]])
    nbformat.write(lesson, older / PATH.name)
    lay_out(older, mine)
    own = mine / "renamed.ipynb"
    (mine / PATH.name).rename(own)
    monkeypatch.setenv("JPY_SESSION_NAME", str(own))
    cells = [(check.id, checking(x)[0]) for x in (old[:2], old, CLAIMS)]
    fewer, all_old, all_new = asyncio.run(run(mine, *cells))
    assert fewer == checking(old[:2])[1]
    assert all_old == f"{printed}Exercise 2.4a is done.\n"
    assert all_new == f"{TICKED}Exercise 2.4a is done.\n"
    assert [(x["held"], x["asked"]) for x in rows(mine)] == [
        ("2", "3"),
        ("3", "3"),
        ("3", "3"),
    ]


@pytest.mark.parametrize("name", ["", "terminal", "gone.ipynb"])
def test_outside_jupyterlab_nothing_is_noted(own, monkeypatch, name):
    monkeypatch.setenv("JPY_SESSION_NAME", name and str(own.with_name(name)))
    cells = [(x, RIGHT) for x in ids(own)[:1]]
    assert asyncio.run(run(own.parent, *cells)) == [TICKED]
    assert not (own.parent / FILE).exists()


def test_a_folder_that_may_not_be_written_to_harms_nothing(own):
    (own.parent / FILE).mkdir()  # also root may not write into that
    cells = [(x, RIGHT) for x in ids(own)[:1]]
    assert asyncio.run(run(own.parent, *cells)) == [TICKED]


def write(folder, *lines):
    head = "when,lesson,exercise,held,asked,minutes"
    (folder / FILE).write_text("\n".join([head, *lines]))


def test_the_table_says_what_is_done_and_where_to_go_on(tmp_path):
    for path in NOTEBOOKS[:2]:
        shutil.copy(path, tmp_path)
    first, second = NOTEBOOKS[0].stem, NOTEBOOKS[1].stem
    names = [x.name for x in exercises(read(NOTEBOOKS[0]))]
    done = [f"2026-01-01T00:00:00+00:00,{first},{x},4,4,7.5" for x in names]
    write(tmp_path, *done, f"2026-01-01T00:00:00+00:00,{second},1.2a,1,4,5.0")
    here = lessons(tmp_path)
    one, other, _, on = table(here).splitlines()
    assert one.split()[-6:] == ["3", "of", "3", "done", f"{7.5 * 3:.0f}", "min"]
    assert other.split()[-6:] == ["0", "of", "4", "done", "5", "min"]
    assert on == f"Go on with exercise 1.2a, in {second}.ipynb."
    assert to_go_on_with(here).path.stem == second


@pytest.mark.parametrize(
    "line",
    ["", "nonsense", "a,b,c,d,e,f", ",,,1,1,1", "w,1.1-x,1.1a,0,0,1.0", "\x00,\ufffd"],
)
def test_a_line_that_somebody_has_spoilt_is_passed_over(tmp_path, line):
    shutil.copy(NOTEBOOKS[0], tmp_path)
    write(tmp_path, line, f"w,{NOTEBOOKS[0].stem},1.1a,3,3,1.0", line)
    [lesson] = lessons(tmp_path)
    assert (lesson.done, lesson.minutes) == ({"1.1a"}, 1.0)


def test_a_class_has_a_line_for_each_learner(tmp_path):
    for place in (tmp_path / "bob", tmp_path / "ann" / "asyncio-lessons"):
        lay_out(FOLDER, place)
    first = NOTEBOOKS[0].stem
    write(tmp_path / "bob", f"w,{first},1.1a,4,4,1.0")
    write(tmp_path / "ann" / "asyncio-lessons", f"w,{first},1.1b,1,5,2.5")
    lay_out(FOLDER, tmp_path / "cyd")
    lay_out(FOLDER, tmp_path / "cyd" / ".ipynb_checkpoints")
    ann, bob, cyd = overview(tmp_path).splitlines()
    all_of_them = sum(len(exercises(read(x))) for x in NOTEBOOKS)
    assert ann.split() == f"ann 0 of {all_of_them} done 2 min next: 1.1a".split()
    assert bob.split() == f"bob 1 of {all_of_them} done 1 min next: 1.1b".split()
    assert cyd.split() == f"cyd 0 of {all_of_them} done 0 min not begun".split()
    assert overview(tmp_path / "bob") == ""


def test_a_course_without_lessons_has_nothing_to_go_on_with(tmp_path):
    assert (lessons(tmp_path), to_go_on_with([]), table([])) == ([], None, "")


@pytest.fixture
def renamed(tmp_path):
    """A lesson of which two exercises are done, renamed, and the new one beside it."""
    lay_out(FOLDER, tmp_path)
    rows = [f"w,{PATH.stem},{x},3,3,2.0" for x in ("2.4a", "2.4b")]
    write(tmp_path, *rows, f"w,{PATH.stem},2.4c,1,4,2.0")
    (tmp_path / PATH.name).rename(tmp_path / "0 my 2.4.ipynb")
    return tmp_path


def test_what_is_done_stays_done_when_the_lesson_is_renamed(renamed):
    lay_out(FOLDER, renamed)
    here = lessons(renamed)
    assert [x.path.name for x in here] == sorted(x.name for x in NOTEBOOKS)
    [new] = [x for x in here if x.path.name == PATH.name]
    assert (new.done, new.next, new.minutes) == ({"2.4a", "2.4b"}, "2.4c", 6.0)
    assert table(here).count("2 of 4 done") == 1


def test_what_is_done_in_a_renamed_lesson_counts_for_the_lesson(renamed):
    lay_out(FOLDER, renamed)
    write(renamed, f"w,{PATH.stem},2.4a,3,3,2.0", "w,0 my 2.4,2.4b,3,3,2.0")
    [done] = [x.done for x in lessons(renamed) if x.done]
    assert done == {"2.4a", "2.4b"}


def test_a_renamed_lesson_stands_for_the_one_that_is_missing(renamed):
    shutil.copy(renamed / "0 my 2.4.ipynb", renamed / "and a copy.ipynb")
    first, *others = lessons(renamed)
    assert (first.path.name, first.done) == ("0 my 2.4.ipynb", {"2.4a", "2.4b"})
    rest = [x.name for x in NOTEBOOKS if x != PATH]
    assert [x.path.name for x in others] == sorted(rest)


def test_a_notebook_without_exercises_is_no_lesson(tmp_path):
    own = new_notebook(cells=[new_markdown_cell("# Notes")])
    nbformat.write(own, tmp_path / "notes.ipynb")
    assert lessons(tmp_path) == []


DAMAGES = {
    "no source": '{"cells": [{"cell_type": "markdown"}]}',
    "no type": '{"cells": [{"source": "# A"}]}',
    "no cells": '{"cells": null}',
    "cells that are none": '{"cells": [null, 3, "a", [], {}]}',
    "sources that are none": '{"cells": [{"cell_type": "markdown", "source": [1]}]}',
    "a number": "3",
    "nothing": "",
    "no text": "\ud800",
    "too deep": "[" * 100_000,
}


@pytest.mark.parametrize("name", ["notes.ipynb", PATH.name])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_is_no_notebook_is_passed_over_and_kept(tmp_path, name, damage):
    lay_out(FOLDER, tmp_path)
    write(tmp_path, f"w,{NOTEBOOKS[0].stem},1.1a,4,4,1.0")
    (tmp_path / name).write_text(damage, errors="surrogatepass")
    before = (tmp_path / name).read_bytes()
    lay_out(FOLDER, tmp_path)
    here = lessons(tmp_path)
    assert here[0].done == {"1.1a"}
    whole = {x.path.name for x in here if x.exercises}
    assert whole == {x.name for x in NOTEBOOKS} - {name}
    assert to_go_on_with(here).next == "1.1b"
    assert "1 of 3 done" in table(here)
    assert (tmp_path / name).read_bytes() == before


def test_a_cell_that_is_none_hides_no_other(own):
    notebook = json.loads(own.read_text())
    notebook["cells"].insert(0, {"cell_type": "markdown"})
    own.write_text(json.dumps(notebook))
    [lesson] = lessons(own.parent)
    assert lesson.title.startswith("2.4 ")
    assert len(lesson.exercises) == 4


def test_half_a_character_in_a_title_can_be_printed(own):
    own.write_text(own.read_text().replace('"# 2.4 ', '"# 2.4 \\ud800'))
    assert table(lessons(own.parent)).encode().startswith(b"2.4 ?")
