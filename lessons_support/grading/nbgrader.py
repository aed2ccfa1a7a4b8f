"""Lessons as nbgrader's source notebooks: a point for each claim that holds.

nbgrader gives a test cell all its points or none, unless it ends with a number: then
that is the score. So the check of an exercise ends with the number of its claims that
hold. Everything else is the course's own: a learner sees the same lesson.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell

from lessons_support.checks import check
from lessons_support.grading.lesson import FOLDER, Exercise, Lesson, lessons


class Points:
    """Stands for `check` in a cell, and counts the claims that hold."""

    def __init__(self) -> None:
        self.held = 0

    def __call__(self, holds: Any, claim: str) -> None:
        """Print what `check` prints."""
        self.held += holds is True
        check(holds, claim)


def export(folder: Path) -> list[Path]:
    """Write the lessons with exercises and the files beside them; what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for lesson in lessons().values():
        path = folder / f"{lesson.name}.ipynb"
        nbformat.write(exported(lesson), path)
        for name, text in lesson.files:
            (folder / name).write_text(text, encoding="utf-8")
        written.append(path)
    return written


def exported(lesson: Lesson) -> nbformat.NotebookNode:
    """A lesson whose checks are nbgrader's test cells."""
    notebook = nbformat.read(FOLDER / f"{lesson.name}.ipynb", as_version=4)
    checks = {x.check: x for x in lesson.exercises}
    for number, cell in enumerate(notebook.cells):
        if cell.source in checks:
            notebook.cells[number] = _test_cell(cell.id, checks[cell.source])
    return notebook


def _test_cell(identity: str, exercise: Exercise) -> nbformat.NotebookNode:
    cell = new_code_cell(with_points(exercise.check), id=identity)
    cell.metadata["nbgrader"] = {
        "schema_version": 3,
        "grade": True,
        "grade_id": "exercise-" + exercise.name.replace(".", "-"),
        "locked": True,
        "points": len(exercise.claims),
        "solution": False,
        "task": False,
    }
    return cell


def with_points(source: str) -> str:
    """A check that shows what it did, and ends with its points."""
    last = ast.parse(source).body[-1]
    lines = source.splitlines()
    if isinstance(last, ast.Expr):
        shown = "\n".join(lines[last.lineno - 1 : last.end_lineno])
        lines[last.lineno - 1 :] = [f"display({shown})"]
    first = "from lessons_support.grading.nbgrader import Points"
    return "\n".join([first, "", "check = Points()", *lines, "check.held"])
