"""Progress: which exercises are done, in a plain file beside the learner's lessons.

Each time the checks of an exercise are run in JupyterLab, a line is added to
``progress.csv``. Nothing else depends on the file; who deletes it starts counting anew.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import monotonic

from lessons_support import checks
from lessons_support.kernel import shell

FILE = "progress.csv"
COLUMNS = ("when", "lesson", "exercise", "held", "asked", "minutes")
EXERCISE = re.compile(r"^### Exercise (\S+)", re.M)
TITLE = re.compile(r"^# (.+)$", re.M)

PAUSE = 10 * 60
"""Between two cells, what is longer than so many seconds was a break."""


# --- in the kernel: note what the checks said


@cache
def note_checks() -> None:
    """From now on note, cell by cell, what is checked in a notebook of JupyterLab."""
    notebook = os.environ.get("JPY_SESSION_NAME", "")  # by Jupyter's server alone
    diary = _Diary(Path(notebook))
    if shell() and notebook.endswith(".ipynb") and diary.path.is_file():
        shell().events.register("pre_run_cell", diary.begins)
        shell().events.register("post_run_cell", diary.ends)


class _Diary:
    """What one kernel has seen: how long the learner was at it, and what held."""

    def __init__(self, path: Path) -> None:
        self.path, self.seconds, self.last = path, 0.0, monotonic()

    def begins(self, _: object = None) -> None:
        checks.said.clear()

    def ends(self, result: object) -> None:
        """A cell has ended. If it has checked something, that is noted."""
        now = monotonic()
        self.seconds, self.last = self.seconds + min(now - self.last, PAUSE), now
        said = list(checks.said)
        exercise = self._exercise(getattr(result.info, "cell_id", None)) if said else ""
        if not exercise:
            return
        minutes, self.seconds = f"{self.seconds / 60:.1f}", 0.0
        when = datetime.now(UTC).isoformat(timespec="seconds")
        row = (when, self.path.stem, exercise, said.count(True), len(said), minutes)
        try:
            _add(self.path.with_name(FILE), row)
        except OSError:
            return  # a folder that may not be written to: the lesson goes on
        if all(said):
            print(f"Exercise {exercise} is done.")

    def _exercise(self, cell_id: str | None) -> str:
        """The exercise whose heading is the last one above a cell."""
        found = ""
        for cell in _cells(self.path):
            if cell["cell_type"] == "markdown":
                found = _exercises_in(cell)[-1:] or found
            elif cell.get("id") == cell_id:
                return "".join(found)
        return ""


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
    """The lessons in a folder, in their order, with what its progress file says."""
    rows = list(_rows(folder / FILE))
    return [_lesson(path, rows) for path in sorted(folder.glob("*.ipynb"))]


def _lesson(path: Path, rows: list[dict[str, str]]) -> Lesson:
    texts = [x for x in _cells(path) if x["cell_type"] == "markdown"]
    exercises = tuple(name for cell in texts for name in _exercises_in(cell))
    title = TITLE.search("".join(texts[0]["source"])) if texts else None
    mine = [x for x in rows if x["lesson"] == path.stem]
    done = frozenset(x["exercise"] for x in mine if x["held"] == x["asked"])
    minutes = sum(float(x["minutes"]) for x in mine)
    name = title[1].replace("`", "") if title else path.stem
    return Lesson(path, name, exercises, done & {*exercises}, minutes)


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


def _cells(path: Path) -> list[dict[str, object]]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _exercises_in(cell: dict[str, object]) -> list[str]:
    return EXERCISE.findall("".join(cell["source"]))
