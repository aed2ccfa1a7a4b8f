"""Progress: which exercises are done, in a plain file beside the learner's lessons.

Each time the checks of an exercise are run in JupyterLab, a line is added to
``progress.csv``. Nothing else depends on the file; who deletes it starts counting anew.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import monotonic

from lessons_support import checks
from lessons_support.course import cells_of, claims_by_exercise, names
from lessons_support.kernel import notebook, shell

FILE = "progress.csv"
COLUMNS = ("when", "lesson", "exercise", "held", "asked", "minutes")
TITLE = re.compile(r"^# (.+)$", re.M)

PAUSE = 10 * 60
"""Between two cells, what is longer than so many seconds was a break."""


# --- in the kernel: note what the checks said


@cache
def note_checks() -> None:
    """From now on note, cell by cell, what is checked in a notebook of JupyterLab."""
    if path := notebook():
        diary = _Diary(path)
        shell().events.register("pre_run_cell", diary.begins)
        shell().events.register("post_run_cell", diary.ends)


class _Diary:
    """What one kernel has seen: how long the learner was at it, and what held."""

    def __init__(self, path: Path) -> None:
        self.path, self.seconds, self.last = path, 0.0, monotonic()

    def begins(self, _: object = None) -> None:
        checks.said.clear()

    def ends(self, result: object) -> None:
        """A cell has ended. If it was an exercise's check, what held is noted.

        A check that has broken off has not asked all, so it is not.
        """
        now = monotonic()
        self.seconds, self.last = self.seconds + min(now - self.last, PAUSE), now
        if not (checks.said and getattr(result, "success", False)):
            return
        exercise, given = self._place(getattr(result.info, "cell_id", None))
        told = {claim for claim, _ in checks.said}
        # A copy keeps the claims that it was given with; any other has the course's.
        known = (given, claims_by_exercise().get(exercise, frozenset()))
        asked = max(known, key=lambda claims: len(claims & told))
        if not exercise or asked.isdisjoint(told):
            return  # the learner's own
        held = _held(asked)
        if self._note(exercise, held, len(asked)) and held == len(asked):
            print(f"Exercise {exercise} is done.")

    def _note(self, exercise: str, held: int, asked: int) -> bool:
        """Add a line to the progress file; whether it could be written."""
        minutes, self.seconds = f"{self.seconds / 60:.1f}", 0.0
        when = datetime.now(UTC).isoformat(timespec="seconds")
        row = (when, self.path.stem, exercise, held, asked, minutes)
        try:
            _add(self.path.with_name(FILE), row)
        except OSError:
            return False  # a folder that may not be written to: the lesson goes on
        return True

    def _place(self, cell_id: str | None) -> tuple[str, frozenset[str]]:
        """The exercise whose heading is the last above a cell, and its given claims."""
        found = ""
        for cell in cells_of(self.path):
            if cell.exercises:
                found = cell.exercises[-1]
            elif cell.kind == "code" and cell.id == cell_id:
                return found, cell.given
        return "", frozenset()


def _held(asked: frozenset[str]) -> int:
    """How many of the claims asked for were said, and held each time."""
    told = {claim for claim, _ in checks.said}
    broken = {claim for claim, true in checks.said if not true}
    return len(asked & told - broken)


def _add(path: Path, row: tuple[object, ...]) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        writer.writerow(row)


# --- afterwards: what is done, and what comes next


@dataclass(frozen=True)
class Lesson:
    """One lesson: its exercises, those of them that are done, and minutes spent."""

    path: Path
    title: str
    exercises: tuple[str, ...]
    done: frozenset[str]
    minutes: float

    @property
    def next(self) -> str:
        """The first exercise that is not done, "" if all are."""
        return next((x for x in self.exercises if x not in self.done), "")


def lessons(folder: Path) -> list[Lesson]:
    """The lessons in a folder, in their order, with what its progress file says.

    A file of another name is the learner's own business: a lesson that was renamed, or
    a copy. Only where the lesson itself is missing, it stands for it.
    """
    rows = list(_rows(folder / FILE))
    found = [_lesson(path, rows) for path in sorted(folder.glob("*.ipynb"))]
    mine = [x for x in found if x.path.name in names()]
    taken = {exercise for lesson in mine for exercise in lesson.exercises}
    for lesson in found:
        if lesson.exercises and taken.isdisjoint(lesson.exercises):
            mine.append(lesson)
            taken.update(lesson.exercises)
    return sorted(mine, key=lambda x: x.path)


def _lesson(path: Path, rows: list[dict[str, str]]) -> Lesson:
    """A lesson; its exercises are done in whatever file that was."""
    texts = [x for x in cells_of(path) if x.kind == "markdown"]
    exercises = tuple(name for cell in texts for name in cell.exercises)
    title = TITLE.search(texts[0].source) if texts else None
    mine = [x for x in rows if x["exercise"] in exercises]
    done = frozenset(x["exercise"] for x in mine if x["held"] == x["asked"])
    minutes = sum(float(x["minutes"]) for x in mine)
    name = title[1].replace("`", "") if title else path.stem
    return Lesson(path, name, exercises, done, minutes)


def to_go_on_with(all_lessons: list[Lesson]) -> Lesson | None:
    """The first lesson that has an exercise which is not done; else the first."""
    open_ones = [x for x in all_lessons if x.next]
    return next(iter(open_ones or all_lessons), None)


def table(all_lessons: list[Lesson]) -> str:
    """A line for each lesson, and one that says where to go on."""
    lines = []
    for lesson in all_lessons:
        done = f"{len(lesson.done)} of {len(lesson.exercises)} done"
        spent = f"{lesson.minutes:.0f} min" if lesson.minutes else ""
        lines.append(f"{lesson.title:<55}  {done:>11}  {spent:>8}".rstrip())
    where = to_go_on_with(all_lessons)
    if where and where.next:
        lines.append(f"\nGo on with exercise {where.next}, in {where.path.name}.")
    elif where:
        lines.append("\nAll exercises are done.")
    return "\n".join(lines)


def overview(folder: Path) -> str:
    """A line for each learner of a class, whose folders are in this one."""
    lines = []
    for pattern in "*", "*/*":
        for place in filter(Path.is_dir, folder.glob(pattern)):
            parts = place.relative_to(folder).parts
            if any(x.startswith(".") for x in parts):
                continue  # JupyterLab's copies, for one
            if theirs := [x for x in lessons(place) if x.exercises]:
                lines.append(f"{parts[0]:<30}  {_in_short(theirs)}".rstrip())
    return "\n".join(sorted(lines))


def _in_short(theirs: list[Lesson]) -> str:
    done = sum(len(x.done) for x in theirs)
    of = sum(len(x.exercises) for x in theirs)
    minutes = sum(x.minutes for x in theirs)
    where = to_go_on_with(theirs)
    to_do = f"next: {where.next}" if where and where.next else ""
    if not (done or minutes):
        to_do = "not begun"
    return f"{done:>3} of {of} done  {minutes:>5.0f} min  {to_do}"


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a progress file that can be read: somebody may have edited it."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for row in csv.DictReader(text.splitlines()):
        try:
            complete = int(row["asked"]) > 0 and float(row["minutes"]) >= 0
        except (KeyError, TypeError, ValueError):
            continue
        if complete and row["lesson"] and row["exercise"]:
            yield row
