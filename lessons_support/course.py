"""The course's own lessons, as they lie beside the package: their exercises' claims."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lessons_support.checks import in_one_line

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
EXERCISE = re.compile(r"^### Exercise (\S+)", re.M)

GIVEN = "claims"
"""In a learner's copy: under this name a check cell's metadata has its claims. So it is
known for one, edited or renamed, also when a newer course makes other claims."""


@dataclass(frozen=True)
class Cell:
    """A cell: "markdown", "code" or another kind, its text, and its id or None.

    ``given`` are the claims that it made when the course gave it, where that is noted.
    """

    kind: str
    source: str
    id: str | None
    given: frozenset[str] = frozenset()

    @property
    def exercises(self) -> tuple[str, ...]:
        """The names of the exercises whose headings are in a cell of prose."""
        prose = self.kind == "markdown"
        return tuple(EXERCISE.findall(self.source)) if prose else ()


@cache
def claims_by_exercise() -> dict[str, frozenset[str]]:
    """For each exercise of the course, the claims that its check cell makes."""
    found: dict[str, frozenset[str]] = {}
    for path in sorted(FOLDER.glob("*.ipynb")):
        for exercise, source in _code_below_headings(path):
            if claims := frozenset(claims_in(source)):
                found.setdefault(exercise, claims)  # the first that checks anything
    return found


def names() -> frozenset[str]:
    """The file names of the course's lessons."""
    return frozenset(x.name for x in FOLDER.glob("*.ipynb"))


def cells_of(path: Path) -> list[Cell]:
    """The cells of a notebook; whatever in a file is none is passed over."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [x for cell in cells for x in _cell(cell)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _cell(cell: Any) -> Iterator[Cell]:
    try:
        source = "".join(cell["source"]).encode(errors="replace").decode()
        given = frozenset(cell.get("metadata", {}).get(GIVEN, ()))
        yield Cell(cell["cell_type"], source, cell.get("id"), given)
    except (KeyError, TypeError, AttributeError):
        return


def _code_below_headings(path: Path) -> Iterator[tuple[str, str]]:
    exercise = ""
    for cell in cells_of(path):
        if cell.exercises:
            exercise = cell.exercises[-1]
        elif exercise and cell.kind == "code":
            yield exercise, cell.source


def claims_in(source: str) -> Iterator[str]:
    """The claims that code makes, as they are printed; none if it is no Python."""
    try:
        yield from map(in_one_line, texts_of_claims(source))
    except (SyntaxError, ValueError):  # a mistake that the lesson shows
        return


def texts_of_claims(source: str) -> list[str]:
    """The claims in calls of `check`, where they stand in code as texts."""
    calls = [x for x in ast.walk(ast.parse(source)) if isinstance(x, ast.Call)]
    checks = [x for x in calls if getattr(x.func, "id", None) == "check"]
    texts = [getattr(x.args[1], "value", None) for x in checks if len(x.args) > 1]
    return [x for x in texts if isinstance(x, str)]
