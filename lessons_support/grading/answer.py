"""Which code of a learner's notebook answers an exercise, whatever was edited there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lessons_support.grading.job import Outcome
from lessons_support.grading.lesson import Cell, Exercise, Lesson, heading_of

MENTION = re.compile(r"\bexercise\s{1,9}(?P<name>\d[\d.]{0,9}[a-z])\b", re.I)
MARKS = re.compile(r"\s*#[\W_]*")
COMMENT = re.compile(r"#.*")
UNKNOWN = re.compile(r"NameError: name '(\w+)' is not defined")

BINDING = re.compile(
    r"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)"
    r"|^(\w+)[ \t]*[=:](?!=)"
    r"|^(?:from[ \t].+[ \t])?import[ \t]+(.+)",
    re.M,
)
"""A line that binds a name, or imports: not all that do, but what people write."""

LONGEST_LINE = 300
"""Characters of a line of prose that is searched for an exercise's name."""


@dataclass(frozen=True)
class Answer:
    """What a learner wrote for one exercise, and what a teacher should know of it.

    ``outside`` are names that the rest of the notebook binds.
    """

    cells: tuple[Cell, ...] = ()
    notes: tuple[str, ...] = ()
    outside: frozenset[str] = frozenset()

    @property
    def code(self) -> str:
        """All of it, as it is read."""
        return "\n\n".join(x.source for x in self.cells)

    def missed_by(self, outcome: Outcome) -> list[str]:
        """What its run did not find, though the rest of the notebook binds it."""
        told = f"{outcome.error}\n{outcome.shown}\n{outcome.printed}"
        names = dict.fromkeys(UNKNOWN.findall(told))
        return [
            f"'{x}' is defined outside the answer." for x in names if x in self.outside
        ]


def task_of(cell: Cell, titles: dict[str, str]) -> str:
    """The name of the exercise that a prose cell sets, edited or not; "" if of none.

    It is in a heading, at its beginning or together with the exercise's title.
    """
    for line in cell.source.splitlines() if cell.kind == "markdown" else ():
        found = MENTION.search(line[:LONGEST_LINE])
        name = found["name"].lower() if found else ""
        is_heading = found and MARKS.fullmatch(line[: found.start()])
        if name in titles and (is_heading or titles[name] in line):
            return name
    return ""


def answer(exercise: Exercise, lesson: Lesson, cells: list[Cell]) -> Answer:
    """The answer to an exercise. Where it is there twice, the last one counts."""
    titles = {x.name: x.title for x in lesson.exercises}
    tasks = [task_of(x, titles) for x in cells]
    places = [x for x, name in enumerate(tasks) if name == exercise.name]
    if not places:
        return Answer(notes=("The exercise is missing.",))
    notes = ["The exercise is there twice: the last one counts."] * (len(places) > 1)
    code = list(_code_below(places[-1] + 1, cells, tasks, lesson))
    parts = [(x, *_parted(x.source, exercise)) for x in code]
    written = [replace(x, source=answer) for x, answer, _ in parts if answer]
    kept = _without_timed(written)
    notes += _of_answers(written, kept)
    if kept:
        notes += _of_check([check for *_, check in parts if check], exercise)
    others = [x.source for x in cells if x.kind == "code" and x not in code]
    outside = frozenset(name for x in others for name in _bound(x))
    return Answer(tuple(kept), tuple(notes), outside)


def _of_answers(written: list[Cell], kept: list[Cell]) -> list[str]:
    """What is to be said of the cells of an answer, and of those that are run."""
    if not written:
        return ["The answer is missing: it counts between the task and the check."]
    notes = ["What begins with %%timeit was left out."] * (len(kept) < len(written))
    if len(kept) > 1:
        notes.append(f"{len(kept)} answer cells were run, one after the other.")
    return notes


def _without_timed(written: list[Cell]) -> list[Cell]:
    """The cells but for those that only measure, and do so for many seconds."""
    kept = [x for x in written if not x.source.lstrip().startswith("%%timeit")]
    return kept or written


def _of_check(checks: list[str], exercise: Exercise) -> list[str]:
    """What was done to the check."""
    if not checks:
        return ["The check cell was missing; the course's own was used."]
    if any(x.split() != exercise.check.split() for x in checks):
        return ["The check cell was edited; the course's own was used."]
    return []


def _code_below(
    first: int, cells: list[Cell], tasks: list[str], lesson: Lesson
) -> Iterator[Cell]:
    """The code of an exercise: down to its solution, or to what follows in the lesson.

    A learner's own headings end nothing.
    """
    for cell, task in zip(cells[first:], tasks[first:], strict=True):
        if cell.kind == "code" and cell.source.strip():
            yield cell
        ends = "<summary>Solution<" in cell.source
        ends = ends or heading_of(cell) in lesson.headings
        if task or (cell.kind == "markdown" and ends):
            return


# --- what is answer, and what is check


def _parted(source: str, exercise: Exercise) -> tuple[str, str]:
    """What of a cell is answer and what is check, edited or not, merged or not."""
    if source.split() == exercise.check.split():
        return "", source
    if not _checks(source, exercise):
        return source, ""
    answer, check = _cut(source, exercise)
    if not _binds(answer, exercise) and (_checks(answer, exercise) or not check):
        return "", source
    return answer.strip() and answer, check


def _checks(source: str, exercise: Exercise) -> bool:
    """Whether code checks one of the claims. To quote one in a comment is no check."""
    code = COMMENT.sub("", source)
    return "check(" in code and any(x in code for x in exercise.claims)


def _cut(source: str, exercise: Exercise) -> tuple[str, str]:
    """A cell in two, where a check begins as the course's does; else all and ""."""
    lines, first = source.split("\n"), exercise.check.split("\n")[0].split()
    for number in reversed(range(len(lines))):
        if lines[number].split() == first:
            check = "\n".join(lines[number:])
            if _checks(check, exercise):
                return "\n".join(lines[:number]).rstrip(), check
    return source, ""


def _binds(source: str, exercise: Exercise) -> bool:
    """Whether code binds a name that is asked for: as far as its lines begin so."""
    names = "|".join(map(re.escape, exercise.asked))
    defined = rf"(?:async[ \t]+)?(?:def|class)[ \t]+(?:{names})\b"
    assigned = rf"(?:{names})[ \t]*[=:](?!=)"
    return bool(re.search(rf"^[ \t]*(?:{defined}|{assigned})", source, re.M))


# --- what is outside


def _bound(source: str) -> Iterator[str]:
    """The names that code binds in lines that begin so."""
    for defined, assigned, imported in BINDING.findall(source):
        if defined or assigned:
            yield defined or assigned
        for part in imported.split(","):
            yield part.split(" as ")[-1].strip(" \t()").partition(".")[0]
