"""The course's side: the exercises of a lesson, and the cells that each builds on."""

from __future__ import annotations

import ast
import dis
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from lessons_support.course import FOLDER, texts_of_claims

TASK = re.compile(r"^### Exercise (?P<name>[\d.]+[a-z]) — (?P<title>\S.*?)\s*$", re.M)
FENCED = re.compile(r"^```python[ \t]*\n(?P<code>.*?)^```[ \t]*$", re.M | re.S)
IMPORTS = (ast.Import, ast.ImportFrom)
WORD = re.compile(r"(?<![\w.])[^\W\d]\w*")

LONGEST = 20_000
"""Characters of an answer that is parsed: what is hard to parse is longer."""


@dataclass(frozen=True)
class Cell:
    """A cell: "code" or another kind, its text, and whether it is to raise an error."""

    kind: str
    source: str
    may_raise: bool = False

    @property
    def task(self) -> re.Match[str] | None:
        """The heading that makes a prose cell the task of an exercise."""
        return TASK.search(self.source) if self.kind == "markdown" else None


@dataclass(frozen=True)
class Exercise:
    """The four cells of an exercise, and the code cells above it."""

    name: str
    title: str
    frame: str
    check: str
    solution: str
    above: tuple[str, ...]

    @property
    def asked(self) -> tuple[str, ...]:
        """The names that an answer has to define: those of frame and solution."""
        return tuple(sorted(binds(self.frame) | binds(self.solution)))

    def is_frame(self, code: str) -> bool:
        """Whether an answer is the cell as it was shipped."""
        return code.split() == self.frame.split()

    @property
    def claims(self) -> tuple[str, ...]:
        """The texts of the claims, where they stand in the check as texts."""
        return tuple(texts_of_claims(self.check))

    def needed(self, answer: str) -> str:
        """The cells above that define, or bind a name that is read further down."""
        ours = self.frame, self.check, self.solution
        wanted = _read_by(answer).union(*map(reads, ours))
        found: list[str] = []
        for cell in reversed(self.above):
            if defines(cell) or wanted & binds(cell):
                wanted = wanted - binds(cell) | reads(cell)
                found.insert(0, cell)
        return "\n\n\n".join(found)


@dataclass(frozen=True)
class Lesson:
    """A lesson: its name is that of its file, ``files`` are those beside it.

    ``headings`` are those of its prose cells, but for exercises.
    """

    name: str
    title: str
    exercises: tuple[Exercise, ...]
    files: tuple[tuple[str, str], ...] = ()
    headings: frozenset[str] = frozenset()

    @property
    def number(self) -> str:
        """The section, "2.4" for 2.4-….ipynb."""
        return self.name.partition("-")[0]


def read_lesson(path: Path) -> Lesson:
    """The lesson in a notebook of the course."""
    cells = cells_of(path.read_text(encoding="utf-8"))
    heading = cells[0].source.partition("\n")[0].lstrip("# ")
    beside = sorted(path.parent.glob("*.py"))
    files = tuple((x.name, x.read_text(encoding="utf-8")) for x in beside)
    headings = frozenset(heading_of(x) for x in cells if not x.task) - {""}
    return Lesson(path.stem, heading, tuple(_exercises(cells)), files, headings)


def heading_of(cell: Cell) -> str:
    """The heading, of first to third level, that a prose cell begins with, or ""."""
    first = cell.source.lstrip().partition("\n")[0]
    marks = len(first) - len(first.lstrip("#"))
    is_one = cell.kind == "markdown" and 1 <= marks <= 3
    return " ".join(first[marks:].casefold().split()) if is_one else ""


def lessons(folder: Path = FOLDER) -> dict[str, Lesson]:
    """The lessons that have exercises, by name, in the order of their sections."""
    found = map(read_lesson, sorted(folder.glob("*.ipynb")))
    return {x.name: x for x in found if x.exercises}


def cells_of(text: str) -> list[Cell]:
    """The cells of a notebook that is given as text; ValueError if it is none."""
    with warnings.catch_warnings(action="ignore"):  # of doubled cell ids, for example
        notebook = nbformat.reads(text, as_version=4, capture_validation_error={})
    # Halves of characters no message can carry.
    return [
        Cell(
            x.cell_type,
            x.source.encode(errors="replace").decode(),
            "raises-exception" in str(x.get("metadata")),  # of any form
        )
        for x in notebook.cells
    ]


def _exercises(cells: list[Cell]) -> Iterator[Exercise]:
    above: list[str] = []
    rest = iter(enumerate(cells))
    for number, cell in rest:
        if cell.task is None:
            above += [cell.source] if cell.kind == "code" else []
            continue
        frame, check, prose = (x.source for x in cells[number + 1 : number + 4])
        solution = FENCED.search(prose)["code"]
        yield Exercise(*cell.task.groups(), frame, check, solution, tuple(above))
        # A later exercise may build on this one; its check is of no use to it.
        above.append(solution)
        next(rest), next(rest)


# --- what the course's cells do


def defines(source: str) -> bool:
    """Whether a cell of the course imports or defines, and does nothing else."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, *IMPORTS)
    only = all(isinstance(x, kinds) for x in _statements(source))
    return only and bool(binds(source))  # nothing, if it is wrong on purpose


def imports(source: str) -> list[str]:
    """The import statements at the top of a cell of the course."""
    return [ast.unparse(x) for x in _statements(source) if isinstance(x, IMPORTS)]


def binds(source: str) -> frozenset[str]:
    """The names that a cell of the course binds, but for those in its functions."""
    return _names(source)[0]


def reads(source: str) -> frozenset[str]:
    """The names that a cell of the course reads and has not bound before."""
    return _names(source)[1]


@cache
def _names(source: str) -> tuple[frozenset[str], frozenset[str]]:
    try:
        top = ast.Module(_statements(source), [])
        code = compile(top, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError:  # a mistake that the lesson shows
        return frozenset(), frozenset()
    bound: set[str] = set()
    read: set[str] = set()
    for name, is_stored in _global_names(code):
        if is_stored:
            bound.add(name)
        elif name not in bound:
            read.add(name)
    return frozenset(bound), frozenset(read)


def _global_names(code: CodeType) -> Iterator[tuple[str, bool]]:
    """What is looked up and what is stored by name; by functions, when all is bound."""
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_NAME", "STORE_GLOBAL"):
            yield step.argval, True
        elif step.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"):
            yield step.argval, False
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from (
                (x, False) for x, is_stored in _global_names(inner) if not is_stored
            )


def _read_by(answer: str) -> set[str]:
    """The names that an answer may read; if it is hard to parse, any word of it."""
    try:
        if len(answer) > LONGEST:
            raise ValueError
        with warnings.catch_warnings(action="ignore"):
            nodes = list(ast.walk(ast.parse(answer)))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return set(WORD.findall(answer))
    names = [x for x in nodes if isinstance(x, ast.Name)]
    bound = {x.id for x in names if isinstance(x.ctx, ast.Store)}
    bound |= {getattr(x, kind, None) for x in nodes for kind in ("arg", "name")}
    return {x.id for x in names} - bound


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(TransformerManager().transform_cell(source)).body
    except SyntaxError:
        return []
