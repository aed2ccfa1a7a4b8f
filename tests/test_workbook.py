"""The learner's copies: without outputs, and never overwritten once worked on."""

import asyncio
import json
import shutil

import nbformat
import pytest
from ipykernel.ipkernel import IPythonKernel
from kernels import kernel
from lessons import FOLDER, NOTEBOOKS, exercises, read
from test_exercises import printed_by

from lessons_support.workbook import GIVEN, Copies, advice, is_older, lay_out

NOTHING_NEWER = Copies((), ())


@pytest.fixture
def course(tmp_path):
    """A course of two lessons and a program, and where the learner's copies go."""
    lessons = tmp_path / "notebooks"
    lessons.mkdir()
    for path in (*NOTEBOOKS[:2], FOLDER / "main_01.py"):
        shutil.copy(path, lessons)
    return lessons, tmp_path / "mine"


def edit(path, text):
    """Write a text into the first code cell, as a learner or a teacher might."""
    notebook = nbformat.read(path, 4)
    next(x for x in notebook.cells if x.cell_type == "code").source = text
    nbformat.write(notebook, path)


def sources(path):
    return [cell.source for cell in nbformat.read(path, 4).cells]


def test_copies_are_the_lessons_without_outputs_and_counts(course):
    lessons, mine = course
    assert lay_out(*course) == NOTHING_NEWER
    names = {x.name for x in lessons.iterdir()}
    assert {x.name for x in mine.iterdir()} == names | {GIVEN}
    for path in lessons.glob("*.ipynb"):
        copy = nbformat.read(mine / path.name, 4)
        nbformat.validate(copy)
        assert copy.metadata.language_info == IPythonKernel().language_info
        assert sources(path) == sources(mine / path.name)
        code = [x for x in copy.cells if x.cell_type == "code"]
        assert [(x.outputs, x.execution_count) for x in code] == [([], None)] * len(
            code
        )
        noted = [x.id for x in code if "claims" in x.metadata]
        checks = [x.check.number - 1 for x in exercises(read(path))]
        assert noted == [copy.cells[x].id for x in checks]
    program = "main_01.py"
    assert (mine / program).read_text() == (lessons / program).read_text()


def test_what_was_worked_on_is_kept_whatever_the_course_does(course):
    lessons, mine = course
    lay_out(*course)
    name = NOTEBOOKS[0].name
    edit(mine / name, "mine = 1")
    before = (mine / name).read_bytes()
    assert lay_out(*course) == NOTHING_NEWER
    edit(lessons / name, "newer = 2")
    assert lay_out(*course) == Copies((), (name,))
    assert lay_out(*course) == Copies((), (name,))
    assert (mine / name).read_bytes() == before
    (mine / name).rename(mine / "old.ipynb")
    assert lay_out(*course) == NOTHING_NEWER
    assert "newer = 2" in sources(mine / name)
    assert (mine / "old.ipynb").read_bytes() == before


def test_what_was_only_run_is_renewed_with_the_course(course):
    lessons, mine = course
    lay_out(*course)
    name = NOTEBOOKS[0].name
    shutil.copy(lessons / name, mine / name)  # the same cells, with outputs
    run = (mine / name).read_bytes()
    lay_out(*course)
    assert (mine / name).read_bytes() == run
    edit(lessons / name, "newer = 2")
    assert lay_out(*course) == Copies((name,), ())
    assert "newer = 2" in sources(mine / name)
    assert lay_out(*course) == NOTHING_NEWER


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"cells": 3}', "\ufffd"])
def test_a_copy_that_is_no_notebook_any_more_is_kept(course, damage):
    lessons, mine = course
    lay_out(*course)
    name = NOTEBOOKS[0].name
    (mine / name).write_text(damage)
    edit(lessons / name, "newer = 2")
    assert lay_out(*course) == Copies((), (name,))
    assert (mine / name).read_text() == damage


@pytest.mark.parametrize("damage", [None, "", "[]", "3"])
def test_without_the_record_of_what_was_given_nothing_is_lost(course, damage):
    _, mine = course
    lay_out(*course)
    name = NOTEBOOKS[0].name
    edit(mine / name, "mine = 1")
    if damage is None:
        (mine / GIVEN).unlink()
    else:
        (mine / GIVEN).write_text(damage)
    assert lay_out(*course) == Copies((), (name,))
    assert "mine = 1" in sources(mine / name)
    assert len(json.loads((mine / GIVEN).read_text())) == 2


def test_a_copy_is_older_if_it_was_worked_on_and_the_course_is_newer(course):
    lessons, mine = course
    lay_out(*course)
    own, newest = (x / NOTEBOOKS[0].name for x in (mine, lessons))
    edit(newest, "newer = 2")
    assert not is_older(own, lessons)  # untouched: the next start renews it
    edit(own, "mine = 1")
    assert is_older(own, lessons)
    shutil.copy(own, mine / "renamed.ipynb")
    assert not is_older(mine / "renamed.ipynb", lessons)
    edit(own, "newer = 2")
    assert not is_older(own, lessons)
    edit(own, "mine = 1")
    (mine / GIVEN).unlink()  # nobody knows whether it is a copy at all
    assert not is_older(own, lessons)


def test_the_first_verb_in_an_older_copy_says_so_once(tmp_path, monkeypatch):
    lay_out(FOLDER, tmp_path)
    given, own = tmp_path / GIVEN, tmp_path / NOTEBOOKS[0].name
    given.write_text(json.dumps(dict.fromkeys(json.loads(given.read_text()), "other")))
    monkeypatch.setenv("JPY_SESSION_NAME", str(own))
    imports = "from lessons_support import check, draw"

    async def told():
        async with kernel(tmp_path) as client:
            return [await printed_by(client, imports) for _ in range(2)]

    assert asyncio.run(told()) == [("", "")] * 2
    edit(own, "mine = 1")
    assert asyncio.run(told()) == [(advice(own.name) + "\n", ""), ("", "")]
