"""Submissions for tests: the course's notebooks, filled in and handed in."""

import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat

from lessons_support.grading.lesson import FOLDER, read_lesson

COMMAND = (sys.executable, "-P", "-m", "lessons_support.grading.command")
LIMIT = 900  # seconds for one command


def lesson(name):
    """A lesson of the course, by its number."""
    [path] = FOLDER.glob(f"{name}-*.ipynb")
    return read_lesson(path)


def filled(lesson, given):
    """The notebook of a lesson with answers in it, by exercise."""
    notebook = nbformat.read(FOLDER / f"{lesson.name}.ipynb", as_version=4)
    frames = {x.frame: given[x.name] for x in lesson.exercises if x.name in given}
    for cell in notebook.cells:
        cell.source = frames.get(cell.source, cell.source)
    return notebook


def submit(folder, learner, lesson, given):
    """Hand a filled notebook in; where it is."""
    path = folder / learner / f"{lesson.name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(filled(lesson, given), path)
    return path


@dataclass(frozen=True)
class Graded:
    """What the command said, and what it wrote."""

    code: int
    printed: str
    folder: Path

    @property
    def lines(self):
        """The lines of grades.csv."""
        with (self.folder / "grades.csv").open(encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def line(self, learner, exercise):
        [found] = [
            x
            for x in self.lines
            if (x["learner"], x["exercise"]) == (learner, exercise)
        ]
        return found


def start(*arguments, **variables):
    """Start the command `grade`."""
    return subprocess.Popen(
        [*COMMAND, "grade", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "400", **variables},
    )


def grade(output, *arguments, **variables):
    """Run the command `grade` to its end."""
    process = start(*arguments, "--output", output, **variables)
    printed, _ = process.communicate(timeout=LIMIT)
    return Graded(process.returncode, printed, Path(output))
