"""The learner's side: which files are submissions, and the answers in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lessons_support.grading.lesson import Cell, Exercise, Lesson, cells_of

LARGEST = 20_000_000
"""Bytes of a file that is still read; a lesson has at most 200,000."""


class Misfit(ValueError):
    """A file that cannot be graded: which, what is wrong, and what to do."""


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
    path: Path
    answers: dict[str, Answer]


def find(places: list[Path]) -> Iterator[tuple[Path, Path]]:
    """The notebooks in files and folders, each with the folder that it was found in.

    Raises Misfit for a place that does not exist or has no notebook.
    """
    for place in places:
        if place.is_dir():
            found = sorted(x for x in place.rglob("*.ipynb") if not _is_copy(x))
            if not found:
                raise Misfit(f"{place} has no notebook (*.ipynb) in it.")
            yield from ((x, place) for x in found)
        elif place.exists() or place.is_symlink():
            yield place, place.parent
        else:
            raise Misfit(f"{place} does not exist: give a notebook, or a folder.")


def _is_copy(path: Path) -> bool:
    return ".ipynb_checkpoints" in path.parts


def read(path: Path, root: Path, lessons: dict[str, Lesson]) -> Submission:
    """The submission in a file below a folder; raises Misfit."""
    cells = _cells(path)
    lesson = _lesson(cells, path, lessons)
    answers = {x.name: _answer(x, cells) for x in lesson.exercises}
    return Submission(_learner(path, root, lesson), lesson, path, answers)


def _cells(path: Path) -> list[Cell]:
    if path.is_symlink() or not path.is_file():
        raise Misfit(f"{path} is a link or no ordinary file: ask for the file itself.")
    try:
        if path.stat().st_size > LARGEST:
            raise Misfit(
                f"{path} has more than {LARGEST // 1_000_000} MB: ask for it again, "
                "saved after Clear All Outputs."
            )
        return cells_of(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Misfit(f"{path} cannot be read: {error.strerror}.") from None
    except Misfit:
        raise
    except Exception:  # whatever a parser says of a file that is broken on purpose
        raise Misfit(
            f"{path} is not a notebook: it is empty or damaged. Ask for it again."
        ) from None


def _lesson(cells: list[Cell], path: Path, lessons: dict[str, Lesson]) -> Lesson:
    """The lesson with the most exercises in common; of equals the first."""
    names = {x.task["name"] for x in cells if x.task}
    best = max(
        lessons.values(), key=lambda x: len(names & {y.name for y in x.exercises})
    )
    if not names & {x.name for x in best.exercises}:
        raise Misfit(
            f"{path} has none of the course's exercises (a heading such as "
            f"'### Exercise {best.exercises[0].name} — …'): is it the right file?"
        )
    return best


def _learner(path: Path, root: Path, lesson: Lesson) -> str:
    """The first folder below the root, or what the file's name adds to the lesson's."""
    parts = path.relative_to(root).parts
    if len(parts) > 1:
        return printable(parts[0]) or "nameless"
    rest = re.sub(re.escape(lesson.name), "", path.stem).strip(" -_.()")
    return printable(rest or root.resolve().name) or "nameless"


def printable(text: str) -> str:
    """Text without line breaks and control characters, not even for a terminal."""
    return "".join(x if x.isprintable() else "�" for x in text).strip()


def _answer(exercise: Exercise, cells: list[Cell]) -> Answer:
    places = [
        number
        for number, cell in enumerate(cells)
        if cell.task and cell.task["name"] == exercise.name
    ]
    if not places:
        return Answer("", ("The exercise is missing.",))
    notes = ["The exercise is there twice: the last one counts."] * (len(places) > 1)
    codes, checks = _code_below(cells, places[-1], exercise)
    if not codes:
        return Answer("", (*notes, "The answer cell is missing."))
    if len(codes) > 1:
        notes.append(f"{len(codes)} answer cells were joined.")
    if not checks:
        notes.append("The check cell was missing; the course's own was used.")
    elif any(x.split() != exercise.check.split() for x in checks):
        notes.append("The check cell was edited; the course's own was used.")
    return Answer("\n\n".join(codes), tuple(notes))


def _code_below(
    cells: list[Cell], place: int, exercise: Exercise
) -> tuple[list[str], list[str]]:
    """The answer's cells and the check's: the code down to the solution's prose."""
    code: list[str] = []
    for cell in cells[place + 1 :]:
        if cell.kind == "markdown" and (cell.task or _is_prose(cell)):
            break
        code += [cell.source] if cell.kind == "code" and cell.source.strip() else []
    is_check = [x for x in code if _checks(x, exercise)]
    return [x for x in code if x not in is_check], is_check


def _is_prose(cell: Cell) -> bool:
    """Whether prose ends an exercise: its solution, or the next heading."""
    return "<summary>Solution</summary>" in cell.source or cell.source.startswith("#")


def _checks(source: str, exercise: Exercise) -> bool:
    """Whether a cell is the check, edited or not: it has one of its claims."""
    if source.split() == exercise.check.split():
        return True
    return any(claim in source for claim in exercise.claims)
