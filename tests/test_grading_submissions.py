"""What is taken from a submission, and what is said of one that does not fit."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from submissions import filled, lesson, submit

from lessons_support.grading.command import main
from lessons_support.grading.job import Outcome
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


def test_two_answer_cells_are_run_as_they_were(notebook, tmp_path):
    at = place(notebook, FIRST.check)
    notebook.cells.insert(at, v4.new_code_cell("more = 2"))
    notebook.cells.insert(at, v4.new_markdown_cell("Now the second one."))
    taken = answer(notebook, tmp_path)
    assert taken.code == "mine = 1\n\nmore = 2"
    assert taken.notes == ("2 answer cells were run, one after the other.",)


def test_a_cell_that_only_measures_is_left_out(notebook, tmp_path):
    scratch = v4.new_code_cell("%%timeit\nsum(range(10))")
    notebook.cells.insert(place(notebook, "mine = 1"), scratch)
    taken = answer(notebook, tmp_path)
    assert taken.code == "mine = 1"
    assert taken.notes == ("What begins with %%timeit was left out.",)


def test_a_cell_that_is_to_raise_an_error_is_known(notebook, tmp_path):
    scratch = v4.new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]})
    notebook.cells.insert(place(notebook, "mine = 1"), scratch)
    taken = answer(notebook, tmp_path)
    assert [x.source for x in taken.cells] == ["1 / 0", "mine = 1"]
    assert [x.may_raise for x in taken.cells] == [True, False]


def test_what_an_answer_misses_is_said_if_the_notebook_has_it(notebook, tmp_path):
    above = (
        "import functools as ft, os.path\nfrom math import pi\nsize = 1\ndef f(): ..."
    )
    notebook.cells.insert(0, v4.new_code_cell(above))
    taken = answer(notebook, tmp_path)
    for name in "ft", "os", "pi", "size", "f":
        outcome = Outcome(error=f"NameError: name '{name}' is not defined")
        assert taken.missed_by(outcome) == [f"'{name}' is defined outside the answer."]
    for name in "functools", "mine", "nowhere":
        outcome = Outcome(error=f"NameError: name '{name}' is not defined")
        assert taken.missed_by(outcome) == []
    in_a_task = Outcome(printed="✗ a claim\n→ NameError: name 'ft' is not defined\n")
    assert taken.missed_by(in_a_task)


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
    assert taken.notes == (
        "The answer is missing: it counts between the task and the check.",
    )


def test_a_deleted_exercise_is_noted(notebook, tmp_path):
    start = place(notebook, "mine = 1") - 1
    del notebook.cells[start : start + 4]
    taken = answer(notebook, tmp_path)
    assert (taken.code, taken.notes) == ("", ("The exercise is missing.",))


@pytest.mark.parametrize("own", ["#### My answer", "#fun idea", "# What I learned"])
@pytest.mark.parametrize("above", ["answer", "check"])
def test_a_learners_own_heading_hides_nothing(own, above, notebook, tmp_path):
    at = place(notebook, "mine = 1" if above == "answer" else FIRST.check)
    notebook.cells.insert(at, v4.new_markdown_cell(f"{own}\nin my words"))
    taken = answer(notebook, tmp_path)
    assert (taken.code, taken.notes) == ("mine = 1", ())


def test_an_exercise_ends_where_the_lesson_goes_on(notebook, tmp_path):
    at = place(notebook, FIRST.check) + 1
    notebook.cells[at] = v4.new_markdown_cell("## In short\n\nNo solution here.")
    notebook.cells.insert(at + 1, v4.new_code_cell("evil = 1"))
    assert answer(notebook, tmp_path).code == "mine = 1"


SOLVED = f"{FIRST.solution}\nfound = 1"


def merged(check):
    """A notebook in which an answer and a check are one cell."""
    notebook = filled(LESSON, {FIRST.name: f"{SOLVED}\n\n{check}"})
    del notebook.cells[place(notebook, FIRST.check)]
    return notebook


def test_a_check_that_was_merged_with_the_answer_is_cut_off(tmp_path):
    taken = answer(merged(FIRST.check), tmp_path)
    assert (taken.code, taken.notes) == (SOLVED, ())


def test_an_edited_check_that_was_merged_is_cut_off_and_noted(tmp_path):
    taken = answer(merged(FIRST.check.replace("2.0", "4.5")), tmp_path)
    assert taken.code == SOLVED
    assert taken.notes == ("The check cell was edited; the course's own was used.",)


def test_an_answer_above_a_check_that_begins_otherwise_is_an_answer(tmp_path):
    check = f"mine = 1\n{FIRST.check.partition(chr(10))[2]}"
    assert answer(merged(check), tmp_path).code == f"{SOLVED}\n\n{check}"


@pytest.mark.parametrize("first", ["", "pages = 3\n"])
def test_an_answer_may_quote_a_claim(first, tmp_path):
    goal = f'{first}# My goal: check(True, "{FIRST.claims[0]}")\n{first}'
    notebook = filled(LESSON, {FIRST.name: goal + FIRST.solution})
    taken = answer(notebook, tmp_path)
    assert (taken.code, taken.notes) == (goal + FIRST.solution, ())


def test_an_answer_may_check_a_claim_itself(tmp_path):
    mine = f'{FIRST.solution}\n\ncheck(True, "{FIRST.claims[0]}")'
    assert answer(filled(LESSON, {FIRST.name: mine}), tmp_path).code == mine


@pytest.mark.parametrize(
    "heading",
    [
        f"### ✅ Exercise {FIRST.name} — {FIRST.title}",
        f"###  Exercise {FIRST.name} – {FIRST.title}",
        f"## **exercise {FIRST.name}**: done",
        f"Done: Exercise {FIRST.name}, {FIRST.title}",
    ],
)
def test_an_exercise_is_known_by_its_name(heading, notebook, tmp_path):
    task = notebook.cells[place(notebook, "mine = 1") - 1]
    task.source = task.source.replace(task.source.partition("\n")[0], heading)
    taken = answer(notebook, tmp_path)
    assert (taken.code, taken.notes) == ("mine = 1", ())


def test_prose_that_names_an_exercise_is_no_exercise(notebook, tmp_path):
    text = f"As in Exercise {FIRST.name}.\n\n### After exercise {FIRST.name}"
    notebook.cells.insert(place(notebook, FIRST.check), v4.new_markdown_cell(text))
    taken = answer(notebook, tmp_path)
    assert (taken.code, taken.notes) == ("mine = 1", ())


def test_the_courses_own_notebooks_are_read_as_the_course_reads_them(tmp_path):
    for one in COURSE.values():
        path = submit(tmp_path, "ann", one, {})
        for exercise in one.exercises:
            taken = read(path, tmp_path, COURSE).answers[exercise.name]
            assert (taken.code, taken.notes) == (exercise.frame, ())


def test_a_file_whose_headings_were_all_edited_is_still_read(notebook, tmp_path):
    for cell in notebook.cells:
        cell.source = cell.source.replace("### Exercise", "###  Exercise")
        cell.source = cell.source.replace(" — ", " – ")
    assert answer(notebook, tmp_path).code == "mine = 1"


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


def test_a_folder_without_a_notebook_gets_a_sentence(tmp_path):
    submit(tmp_path, "ann", LESSON, {})
    for path in "bob/deep/work.zip", "grades/bob/feedback.html", ".git/config":
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    submissions, misfits = read_all([tmp_path], tmp_path / "grades")
    assert [x.learner for x in submissions] == ["ann"]
    [misfit] = misfits
    assert f"{tmp_path / 'bob'} has no notebook" in str(misfit)
    assert misfit.learner == "bob"


def test_what_is_packed_gets_a_sentence_unless_it_lies_unpacked_beside(tmp_path):
    submit(tmp_path, "ann", LESSON, {})
    for name in "ann.zip", "bob.ZIP", "roster.csv":
        (tmp_path / name).touch()
    submissions, misfits = read_all([tmp_path])
    assert [x.learner for x in submissions] == ["ann"]
    assert list(map(str, misfits)) == [
        f"{tmp_path / 'bob.ZIP'} is packed: unpack it into a folder."
    ]


@pytest.mark.parametrize("where", ["bob", "bob/deep"])
def test_a_link_to_a_folder_gets_a_sentence(where, tmp_path):
    submit(tmp_path, "ann", LESSON, {})
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).symlink_to(tmp_path / "ann")
    (tmp_path / "ann" / "link").symlink_to(tmp_path)  # beside a notebook it is no harm
    submissions, [misfit] = read_all([tmp_path])
    assert [x.learner for x in submissions] == ["ann"]
    assert f"{tmp_path / where} is a link to a folder" in str(misfit)
    assert misfit.learner == "bob"


def test_capitals_make_a_notebook_too(tmp_path):
    path = submit(tmp_path, "ann", LESSON, {})
    path.rename(path.with_suffix(".IPYNB"))
    path = submit(tmp_path, "", LESSON, {})
    path.rename(path.with_name(f"{LESSON.name.upper()}-BOB.IPYNB"))
    submissions, misfits = read_all([tmp_path])
    assert [x.learner for x in submissions] == ["BOB", "ann"]
    assert misfits == []


def test_what_macos_adds_is_no_notebook(tmp_path):
    one = submit(tmp_path, "ann", LESSON, {})
    for folder in "__MACOSX/ann", "ann", "ann/__MACOSX":
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / f"._{one.name}").write_bytes(b"\0\5\x16\7")
    submissions, misfits = read_all([tmp_path])
    assert [x.learner for x in submissions] == ["ann"]
    assert misfits == []


def test_what_cannot_be_read_stops_no_other(tmp_path, monkeypatch):
    there = Path.iterdir

    def iterdir(path):
        if path.name == "bob":
            raise PermissionError(13, "Permission denied")
        return there(path)

    submit(tmp_path, "ann", LESSON, {})
    submit(tmp_path, "bob", LESSON, {})
    monkeypatch.setattr(Path, "iterdir", iterdir)
    submissions, misfits = read_all([tmp_path, tmp_path / ("x" * 300)])
    assert [x.learner for x in submissions] == ["ann"]
    assert f"{tmp_path / 'bob'} cannot be read: Permission denied." == str(misfits[0])
    assert "xxx cannot be read: File name too long." in str(misfits[1])
    assert misfits[0].learner == "bob"


def test_what_is_said_of_a_file_can_be_printed_whatever_it_is_called(tmp_path):
    path = tmp_path / os.fsdecode(b"m\xfcller") / "torn\n\x1b[31m.ipynb"
    path.parent.mkdir()
    path.write_text("torn")
    [[misfit]] = [read_all([tmp_path])[1]]
    assert "m�ller/torn��[31m.ipynb is not a notebook" in str(misfit)
    assert misfit.learner == "m�ller"
    assert str(misfit).isprintable()


# --- whose it is


@pytest.mark.parametrize(
    ("path", "learner"),
    [
        ("ann/{}.ipynb", "ann"),
        ("ann/week 3/{}.ipynb", "ann"),
        ("{}-ann.ipynb", "ann"),
        ("ann_{}.ipynb", "ann"),
        ("{}-ann (1).ipynb", "ann"),
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


def test_the_file_with_the_lessons_own_name_is_the_learners(tmp_path):
    real = submit(tmp_path, "ann", LESSON, {FIRST.name: "mine = 1"})
    copy = submit(tmp_path, "x", LESSON, {FIRST.name: "other = 2"}).rename(
        real.with_name(f"{LESSON.name}-Copy1.ipynb")
    )
    submit(tmp_path, "ann (2)", LESSON, {})
    (tmp_path / "x").rmdir()
    submissions, _ = read_all([tmp_path])
    taken = {x.learner: x.answers[FIRST.name] for x in submissions}
    assert list(taken) == ["ann", "ann (3)", "ann (2)"]
    assert taken["ann"].code == "mine = 1"
    note = "There are 2 notebooks of this lesson: this one is {}."
    assert taken["ann"].notes == (note.format(real.name),)
    assert taken["ann (3)"].notes == (note.format(copy.name),)
    assert taken["ann (2)"].notes == ()


def test_the_one_that_was_worked_in_is_the_learners(tmp_path):
    newer = submit(tmp_path, "ann", LESSON, {})
    mine = submit(tmp_path, "x", LESSON, {FIRST.name: "mine = 1"})
    mine.rename(newer.with_name("my old lesson.ipynb"))
    (tmp_path / "x").rmdir()
    [only], _ = read_all([tmp_path])
    assert only.learner == "ann"
    assert only.answers[FIRST.name].code == "mine = 1"
    [note] = only.answers[FIRST.name].notes
    assert note.endswith("this one is my old lesson.ipynb.")


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


@pytest.mark.parametrize(
    "command", [["export"], ["grade", "--unboxed", ".", "--output"]]
)
def test_what_cannot_be_written_to_gets_a_sentence(command, tmp_path, capsys):
    place = tmp_path / "mine"
    place.touch()
    assert main([*command, str(place)]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert str(place) in said
