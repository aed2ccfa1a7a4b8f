"""The course's side: the exercises of a lesson, and the cells that each builds on."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

FOLDER = Path(__file__).resolve().parent.parent.parent / "notebooks"

TASK = re.compile(r"^### Exercise (?P<name>[\d.]+[a-z]) — (?P<title>\S.*?)\s*$", re.M)
FENCED = re.compile(r"^```python[ \t]*\n(?P<code>.*?)^```[ \t]*$", re.M | re.S)


@dataclass(frozen=True)
class Cell:
    """A cell: "code" or another kind, and its text."""

    kind: str
    source: str

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

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The names that an answer has to define: those of frame and solution."""
        return tuple(sorted(bound(self.frame) | bound(self.solution)))

    @property
    def claims(self) -> tuple[str, ...]:
        """The texts of the claims, where they stand in the check as texts."""
        calls = [x for x in ast.walk(ast.parse(self.check)) if isinstance(x, ast.Call)]
        texts = [
            getattr(x.args[1], "value", None)
            for x in calls
            if getattr(x.func, "id", None) == "check" and len(x.args) > 1
        ]
        return tuple(x for x in texts if isinstance(x, str))

    @property
    def defining(self) -> tuple[str, ...]:
        """The cells above that define and do not run."""
        return tuple(x for x in self.above if not runs(x))


@dataclass(frozen=True)
class Lesson:
    """A lesson: its name is that of its file, ``files`` are those beside it."""

    name: str
    title: str
    exercises: tuple[Exercise, ...]
    files: tuple[tuple[str, str], ...] = ()

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
    return Lesson(path.stem, heading, tuple(_exercises(cells)), files)


def lessons(folder: Path = FOLDER) -> dict[str, Lesson]:
    """The lessons that have exercises, by name, in the order of their sections."""
    found = map(read_lesson, sorted(folder.glob("*.ipynb"), key=_in_order))
    return {x.name: x for x in found if x.exercises}


def cells_of(text: str) -> list[Cell]:
    """The cells of a notebook that is given as text; ValueError if it is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of doubled cell ids, for example
        notebook = nbformat.reads(text, as_version=4, capture_validation_error={})
    return [Cell(x.cell_type, _sound(x.source)) for x in notebook.cells]


def _sound(text: str) -> str:
    """Text without halves of characters, which no message can carry."""
    return text.encode(errors="replace").decode()


def _in_order(path: Path) -> tuple[list[int], str]:
    section = path.stem.partition("-")[0]
    return [int(x) for x in section.split(".") if x.isdigit()], path.stem


def _exercises(cells: list[Cell]) -> list[Exercise]:
    found: list[Exercise] = []
    above: list[str] = []
    rest = iter(enumerate(cells))
    for number, cell in rest:
        if cell.task is None:
            above += [cell.source] if cell.kind == "code" else []
            continue
        frame, check, prose = cells[number + 1 : number + 4]
        solution = FENCED.search(prose.source)["code"]
        names = cell.task["name"], cell.task["title"]
        sources = frame.source, check.source, solution
        found.append(Exercise(*names, *sources, tuple(above)))
        # A later exercise may build on this one; its check is of no use to it.
        above.append(solution)
        next(rest), next(rest)
    return found


def imported(lessons: Iterable[Lesson]) -> tuple[str, ...]:
    """The modules that the cells of lessons import, but for their own files."""
    cells = {y for x in lessons for one in x.exercises for y in one.above}
    own = {name.removesuffix(".py") for x in lessons for name, _ in x.files}
    found = set()
    for statement in (y for x in cells if not runs(x) for y in _statements(x)):
        if isinstance(statement, ast.Import):
            found |= {x.name for x in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            found.add(statement.module)
    return tuple(sorted(found - own))


# --- what a cell does


DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
QUIET = ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.Pass


def runs(source: str) -> bool:
    """Whether a cell does more than define functions, classes and constants.

    A call of something with a capital, as in ``FastAPI()``, makes an object; that is
    no run. What is not Python fails, which is one.
    """
    try:
        return any(map(_runs, _statements(source)))
    except SyntaxError:
        return True


def bound(source: str) -> set[str]:
    """The names that a cell binds, but for those inside its functions."""
    names = set()
    for statement in _statements(source):
        if isinstance(statement, DEFINITIONS):
            names.add(statement.name)
            continue
        nodes = [x for x in ast.walk(statement) if isinstance(x, ast.Name)]
        names |= {x.id for x in nodes if isinstance(x.ctx, ast.Store)}
    return names


def _statements(source: str) -> list[ast.stmt]:
    return ast.parse(TransformerManager().transform_cell(source)).body


def _runs(node: ast.stmt) -> bool:
    if isinstance(node, DEFINITIONS):
        return False
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return False
    return not isinstance(node, QUIET) or _acts(node)


def _acts(node: ast.AST) -> bool:
    """Whether an expression calls or awaits something; a lambda does so later."""
    if isinstance(node, ast.Lambda):
        return False
    if isinstance(node, ast.Await) or (isinstance(node, ast.Call) and not _makes(node)):
        return True
    return any(map(_acts, ast.iter_child_nodes(node)))


def _makes(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", "")
    return name[:1].isupper()
