"""The course's own lessons, as they lie beside the package: their exercises' claims."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
EXERCISE = re.compile(r"^### Exercise (\S+)", re.M)


@cache
def claims_by_exercise() -> dict[str, frozenset[str]]:
    """For each exercise of the course, the claims that its check cell makes."""
    found: dict[str, frozenset[str]] = {}
    for path in sorted(FOLDER.glob("*.ipynb")):
        for exercise, source in _code_below_headings(path):
            if claims := frozenset(_claims_in(source)):
                found.setdefault(exercise, claims)  # the first that checks anything
    return found


def names() -> frozenset[str]:
    """The file names of the course's lessons."""
    return frozenset(x.name for x in FOLDER.glob("*.ipynb"))


def cells_of(path: Path) -> list[dict[str, object]]:
    """The cells of a notebook, none where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def exercises_in(cell: dict[str, object]) -> list[str]:
    """The names of the exercises whose headings are in a cell of prose."""
    return EXERCISE.findall("".join(cell["source"]))


def _code_below_headings(path: Path) -> Iterator[tuple[str, str]]:
    exercise = ""
    for cell in cells_of(path):
        if cell["cell_type"] == "markdown":
            exercise = (exercises_in(cell) or [exercise])[-1]
        elif exercise:
            yield exercise, "".join(cell["source"])


def _claims_in(source: str) -> Iterator[str]:
    """The sentences in calls of `check`, each in one line, as it is printed."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:  # a mistake that the lesson shows
        return
    for call in nodes:
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "check":
            claims = [getattr(x, "value", None) for x in call.args[1:]]
            yield from (" ".join(x.split()) for x in claims if isinstance(x, str))
