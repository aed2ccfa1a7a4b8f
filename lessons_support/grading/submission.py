"""The learner's side: which files are submissions, and the answers in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lessons_support.grading.lesson import Cell, Exercise, Lesson, cells_of, lessons

LARGEST = 20_000_000
"""Bytes of a file that is still read; a lesson has at most 200,000."""


class Misfit(ValueError):
    """A file that cannot be graded: which, what is wrong, and what to do.

    ``learner`` is the folder that it lay in, or "" where it lay in none.
    """

    learner = ""


@dataclass(frozen=True)
class Answer:
    """What a learner wrote for one exercise, and what a teacher should know of it."""

    code: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submission:
    """The answers of one learner to the exercises of one lesson, by exercise."""

    learner: str
    lesson: Lesson
    answers: dict[str, Answer]


def read_all(places: list[Path]) -> tuple[list[Submission], list[Misfit]]:
    """The submissions in files and folders, and what cannot be graded.

    No two are of the same learner and lesson: the second one's learner is "ann (2)".
    """
    course, taken = lessons(), set()
    submissions: list[Submission] = []
    misfits: list[Misfit] = []
    for path, root in dict.fromkeys(_notebooks(places, misfits)):
        try:
            one = read(path, root, course)
        except Misfit as error:
            error.learner = _folder(path, root)
            misfits.append(error)
            continue
        learner, number = one.learner, 2
        while (learner, one.lesson.name) in taken:
            learner, number = f"{one.learner} ({number})", number + 1
        taken.add((learner, one.lesson.name))
        submissions.append(replace(one, learner=learner))
    return submissions, misfits


def _notebooks(
    places: list[Path], misfits: list[Misfit]
) -> Iterator[tuple[Path, Path]]:
    """The notebooks in files and folders, each with the folder that it was found in."""
    for place in places:
        found = [place]
        if place.is_dir():
            found = sorted(place.rglob("*.ipynb"))
            found = [x for x in found if ".ipynb_checkpoints" not in x.parts]
            if not found:
                misfits.append(Misfit(f"{place} has no notebook (*.ipynb) in it."))
        yield from ((x, place if place.is_dir() else place.parent) for x in found)


def read(path: Path, root: Path, course: dict[str, Lesson]) -> Submission:
    """The submission in a file below a folder; raises Misfit."""
    cells = _cells(path)
    names = {x.task["name"] for x in cells if x.task}
    found = [(len(names & {y.name for y in x.exercises}), x) for x in course.values()]
    most, lesson = max(found, key=lambda x: x[0])  # of equals the first
    if not most:
        raise Misfit(
            f"{path} has none of the course's exercises (a heading such as "
            f"'### Exercise {lesson.exercises[0].name} — …'): is it the right file?"
        )
    answers = {x.name: _answer(x, cells) for x in lesson.exercises}
    return Submission(_learner(path, root, lesson), lesson, answers)


def _cells(path: Path) -> list[Cell]:
    if not path.exists() and not path.is_symlink():
        raise Misfit(f"{path} does not exist: give a notebook, or a folder.")
    if path.is_symlink() or not path.is_file():
        raise Misfit(f"{path} is a link or no ordinary file: ask for the file itself.")
    try:
        if path.stat().st_size <= LARGEST:
            return cells_of(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Misfit(f"{path} cannot be read: {error.strerror}.") from None
    except Exception:  # whatever a parser says of a file that is broken on purpose
        raise Misfit(
            f"{path} is not a notebook: it is empty or damaged. Ask for it again."
        ) from None
    raise Misfit(
        f"{path} has more than {LARGEST // 1_000_000} MB: ask for it again, saved "
        "after Clear All Outputs."
    )


def _learner(path: Path, root: Path, lesson: Lesson) -> str:
    """The first folder below the root, or what the file's name adds to the lesson's."""
    if len(path.relative_to(root).parts) > 1:
        return _folder(path, root) or "nameless"
    rest = re.sub(re.escape(lesson.name), "", path.stem).strip(" -_.()")
    return printable(rest or root.resolve().name) or "nameless"


def _folder(path: Path, root: Path) -> str:
    """The name of the first folder below the root, "" where there is none."""
    folders = path.relative_to(root).parts[:-1]
    return printable(folders[0]) if folders else ""


def printable(text: str) -> str:
    """Text without line breaks and control characters, not even for a terminal."""
    return "".join(x if x.isprintable() else "�" for x in text).strip()


def _answer(exercise: Exercise, cells: list[Cell]) -> Answer:
    tasks = [x for x, cell in enumerate(cells) if cell.task]
    places = [x for x in tasks if cells[x].task["name"] == exercise.name]
    if not places:
        return Answer("", ("The exercise is missing.",))
    notes = ["The exercise is there twice: the last one counts."] * (len(places) > 1)
    code = list(_code_below(cells[places[-1] + 1 :]))
    checks = [x for x in code if _is_check(x, exercise)]
    answers = [x for x in code if x not in checks]
    if not answers:
        return Answer("", (*notes, "The answer cell is missing."))
    if len(answers) > 1:
        notes.append(f"{len(answers)} answer cells were joined.")
    if not checks:
        notes.append("The check cell was missing; the course's own was used.")
    elif any(x.split() != exercise.check.split() for x in checks):
        notes.append("The check cell was edited; the course's own was used.")
    return Answer("\n\n".join(answers), tuple(notes))


def _code_below(cells: list[Cell]) -> Iterator[str]:
    """The code of an exercise: down to its solution, or to the next heading."""
    for cell in cells:
        ends = cell.source.startswith("#") or "<summary>Solution<" in cell.source
        if cell.task or (cell.kind == "markdown" and ends):
            return
        if cell.kind == "code" and cell.source.strip():
            yield cell.source


def _is_check(source: str, exercise: Exercise) -> bool:
    """Whether a cell is the check, edited or not: it checks one of its claims."""
    if source.split() == exercise.check.split():
        return True
    return "check(" in source and any(x in source for x in exercise.claims)
