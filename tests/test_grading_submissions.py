"""What is taken from a submission, and what is said of one that does not fit."""

import json
import os

import nbformat
import pytest
from nbformat import v4
from submissions import filled, lesson, submit

from lessons_support.grading.lesson import lessons
from lessons_support.grading.submission import Misfit, read, read_all

LESSON = lesson("2.4")
FIRST = LESSON.exercises[0]
COURSE = lessons()


def answer(notebook, tmp_path):
    """What is taken of the first exercise."""
    path = tmp_path / "ann.ipynb"
    nbformat.write(notebook, path)
    return read(path, tmp_path, COURSE).answers[FIRST.name]


def place(notebook, source):
    return next(n for n, x in enumerate(notebook.cells) if x.source == source)


@pytest.fixture
def notebook():
    return filled(LESSON, {FIRST.name: "mine = 1"})


def test_an_answer_is_the_code_below_its_heading(notebook, tmp_path):
    taken = answer(notebook, tmp_path)
    assert (taken.code, taken.notes) == ("mine = 1", ())


def test_an_edited_check_is_replaced_and_noted(notebook, tmp_path):
    check = notebook.cells[place(notebook, FIRST.check)]
    check.source = check.source.replace("2.0", "4.5")
    taken = answer(notebook, tmp_path)
    assert taken.code == "mine = 1"
    assert taken.notes == ("The check cell was edited; the course's own was used.",)


def test_a_deleted_check_is_replaced_and_noted(notebook, tmp_path):
    del notebook.cells[place(notebook, FIRST.check)]
    taken = answer(notebook, tmp_path)
    assert taken.code == "mine = 1"
    assert taken.notes == ("The check cell was missing; the course's own was used.",)


def test_a_doubled_check_does_no_harm(notebook, tmp_path):
    at = place(notebook, FIRST.check)
    notebook.cells.insert(at, v4.new_code_cell(FIRST.check))
    taken = answer(notebook, tmp_path)
    assert (taken.code, taken.notes) == ("mine = 1", ())


def test_two_answer_cells_are_joined_as_they_were_run(notebook, tmp_path):
    at = place(notebook, FIRST.check)
    notebook.cells.insert(at, v4.new_code_cell("more = 2"))
    notebook.cells.insert(at, v4.new_markdown_cell("Now the second one."))
    taken = answer(notebook, tmp_path)
    assert taken.code == "mine = 1\n\nmore = 2"
    assert taken.notes == ("2 answer cells were joined.",)


def test_of_an_exercise_that_is_there_twice_the_last_counts(notebook, tmp_path):
    again = filled(LESSON, {FIRST.name: "mine = 2"})
    start = place(again, "mine = 2") - 1
    path = tmp_path / "ann.ipynb"
    text = json.dumps({**notebook, "cells": notebook.cells + again.cells[start:]})
    path.write_text(text)  # with ids that are there twice, as after a copy
    taken = read(path, tmp_path, COURSE).answers[FIRST.name]
    assert taken.code == "mine = 2"
    assert taken.notes == ("The exercise is there twice: the last one counts.",)


def test_a_deleted_answer_is_noted(notebook, tmp_path):
    del notebook.cells[place(notebook, "mine = 1")]
    taken = answer(notebook, tmp_path)
    assert taken.code == ""
    assert taken.notes == ("The answer cell is missing.",)


def test_a_deleted_exercise_is_noted(notebook, tmp_path):
    start = place(notebook, "mine = 1") - 1
    del notebook.cells[start : start + 4]
    taken = answer(notebook, tmp_path)
    assert (taken.code, taken.notes) == ("", ("The exercise is missing.",))


def test_code_elsewhere_is_not_taken(notebook, tmp_path):
    notebook.cells.insert(0, v4.new_code_cell("evil = 1"))
    notebook.cells.append(v4.new_code_cell("evil = 2"))
    path = tmp_path / "ann.ipynb"
    nbformat.write(notebook, path)
    answers = read(path, tmp_path, COURSE).answers
    assert not [x for x in answers.values() if "evil" in x.code]


def test_half_a_character_is_replaced(notebook, tmp_path):
    path = tmp_path / "ann.ipynb"
    path.write_text(nbformat.writes(notebook).replace("mine = 1", "x = '\\ud800'"))
    assert read(path, tmp_path, COURSE).answers[FIRST.name].code == "x = '?'"


# --- what does not fit


BROKEN = {
    "empty": b"",
    "not JSON": b"a word",
    "not UTF-8": b"\xff\xfe\x00\x01",
    "not a notebook": b"[1, 2]",
    "no cells": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "cells of no kind": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {},'
    b' "cells": [1, {"source": 2}]}',
    "very deep": b"[" * 200_000,
}


def complaint(path):
    with pytest.raises(Misfit) as misfit:
        read(path, path.parent, COURSE)
    text = str(misfit.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("kind", BROKEN)
def test_a_damaged_file_gets_a_sentence(kind, tmp_path):
    path = tmp_path / "ann.ipynb"
    path.write_bytes(BROKEN[kind])
    assert "is not a notebook: it is empty or damaged" in complaint(path)


def test_a_link_is_refused(notebook, tmp_path):
    there = submit(tmp_path, "bob", LESSON, {})
    path = tmp_path / "ann.ipynb"
    path.symlink_to(there)
    assert "is a link" in complaint(path)


def test_a_pipe_is_refused(tmp_path):
    path = tmp_path / "ann.ipynb"
    os.mkfifo(path)
    assert "no ordinary file" in complaint(path)


def test_a_huge_file_is_refused(tmp_path):
    path = tmp_path / "ann.ipynb"
    with path.open("wb") as file:
        file.truncate(21_000_000)
    assert "more than 20 MB" in complaint(path)


def test_a_notebook_of_something_else_is_refused(tmp_path):
    path = tmp_path / "ann.ipynb"
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# Mine")]), path)
    assert "none of the course's exercises" in complaint(path)


def test_a_place_without_notebooks_gets_a_sentence(tmp_path):
    submissions, misfits = read_all([tmp_path, tmp_path / "nowhere"])
    assert submissions == []
    assert "has no notebook" in str(misfits[0])
    assert "does not exist" in str(misfits[1])


# --- whose it is


@pytest.mark.parametrize(
    ("path", "learner"),
    [
        ("ann/{}.ipynb", "ann"),
        ("ann/week 3/{}.ipynb", "ann"),
        ("{}-ann.ipynb", "ann"),
        ("ann_{}.ipynb", "ann"),
        ("ann.ipynb", "ann"),
        ("a\x1b[31mnn/{}.ipynb", "a�[31mnn"),
    ],
)
def test_a_learner_is_told_from_the_path(path, learner, notebook, tmp_path):
    place = tmp_path / path.format(LESSON.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, place)
    assert read(place, tmp_path, COURSE).learner == learner


def test_two_notebooks_of_one_learner_are_kept_apart(tmp_path):
    first = submit(tmp_path, "ann", LESSON, {})
    first.with_name("copy.ipynb").write_bytes(first.read_bytes())
    checkpoint = tmp_path / "ann" / ".ipynb_checkpoints" / "copy.ipynb"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(first.read_bytes())
    submissions, misfits = read_all([tmp_path])
    assert sorted(x.learner for x in submissions) == ["ann", "ann (2)"]
    assert misfits == []


def test_a_damaged_file_is_its_learners(tmp_path):
    submit(tmp_path, "ann", LESSON, {}).write_text("torn")
    (tmp_path / "torn.ipynb").write_text("torn")
    _, misfits = read_all([tmp_path])
    assert [x.learner for x in misfits] == ["ann", ""]


def test_a_lesson_is_told_from_its_exercises_whatever_the_file_is_called(tmp_path):
    path = tmp_path / "homework.ipynb"
    nbformat.write(filled(lesson("2.5"), {}), path)
    found = read(path, tmp_path, COURSE)
    assert found.lesson.number == "2.5"
    assert json.dumps(list(found.answers)) == '["2.5a", "2.5b", "2.5c"]'
