"""The notebooks as a reader sees them: cells, words, headings, links and exercises.

Every test that looks into a notebook reads it through this module, so that a
convention is spelled out once.
"""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"

# File name without suffix → the heading of the document's section, in its order.
SECTIONS = {
    "1.1-what-is-asynchronous-processing": "1.1. What is Asynchronous Processing?",
    "1.2-async-and-await": "1.2. async and await",
    "2.1-defining-an-asynchronous-function": (
        "2.1. Defining an Asynchronous Function with `async def`"
    ),
    "2.2-waiting-for-completion": "2.2. Waiting for Completion with `await`",
    "2.3-the-event-loop": "2.3. The Event Loop",
    "2.4-executing-tasks-with-gather": (
        "2.4. Executing Asynchronous Tasks with `asyncio.gather`"
    ),
    "2.5-expected-output": "2.5. Expected Output",
    "3-fastapi-and-asynchronous-processing": "3. FastAPI and Asynchronous Processing",
    "3.1-advantages-of-asynchronous-processing": (
        "3.1. Advantages of Asynchronous Processing"
    ),
    "3.2-asynchronous-features-in-fastapi": "3.2. Asynchronous Features in FastAPI",
}

FENCE = re.compile(
    r"^(?P<mark>```+|~~~+)(?P<language>[^\n`]*)\n(?P<code>.*?)^(?P=mark)[ \t]*$",
    re.M | re.S,
)
INLINE_CODE = re.compile(r"`[^`\n]+`")
TAG = re.compile(r"</?[a-zA-Z][\w-]*(?:\s[^<>]*)?/?>|<!--.*?-->", re.S)
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)[^)]*\)")
HEADING = re.compile(r"^(?P<marks>#{1,6}) +(?P<text>.+?)\s*$", re.M)
EXERCISE = re.compile(
    r"^### Exercise (?P<section>[\d.]+)(?P<letter>[a-z]) — (?P<title>\S.*)$", re.M
)
YOUR_TURN = re.compile(r"# Your turn\b")
SOLUTION = "<details><summary>Solution</summary>"


def section_number(path):
    """The numbers a file name begins with: (2, 4) for 2.4-….ipynb."""
    digits = re.match(r"[\d.]*", path.name).group().strip(".")
    return tuple(int(part) for part in digits.split(".") if part), path.name


NOTEBOOKS = tuple(sorted(FOLDER.glob("*.ipynb"), key=section_number))


@dataclass(frozen=True)
class Cell:
    """One cell; `number` counts all cells from 1, `kind` is "prose" or "code"."""

    number: int
    kind: str
    source: str
    metadata: dict
    outputs: tuple = ()
    execution_count: int | None = None

    def __str__(self):
        first_line = self.source.strip().partition("\n")[0]
        return f"cell {self.number} ({first_line[:50]!r})"

    @property
    def tags(self):
        return frozenset(self.metadata.get("tags", ()))

    @property
    def may_fail(self):
        """Whether an error is wanted; nbval, nbclient and JupyterLab know this tag."""
        return "raises-exception" in self.tags

    @property
    def may_warn(self):
        """Whether stderr is wanted; a comment says so, for a reader sees no tags."""
        return (
            self.kind == "code" and re.search(r"#.*\bwarns\b", self.source) is not None
        )


@dataclass(frozen=True)
class Lesson:
    """A notebook, its file name without suffix, and the folder its links start from."""

    name: str
    folder: Path
    notebook: nbformat.NotebookNode
    cells: tuple

    @property
    def prose(self):
        return [cell for cell in self.cells if cell.kind == "prose"]

    @property
    def code(self):
        return [cell for cell in self.cells if cell.kind == "code"]

    @property
    def number(self):
        """The section, "2.4" for 2.4-….ipynb."""
        return self.name.partition("-")[0]


@dataclass(frozen=True)
class Exercise:
    """Four adjacent cells, named like "2.4a"."""

    name: str
    title: str
    task: Cell
    answer: Cell
    check: Cell
    solution: Cell

    @property
    def solution_code(self):
        """What replaces the answer cell: the solution's first fenced block, or None."""
        return next((code for _, code in fences(self.solution.source)), None)


def read(path):
    """The lesson in a file."""
    return lesson(nbformat.read(path, as_version=4), path.stem, path.parent)


def lesson(notebook, name, folder):
    """The lesson in a notebook that is in memory."""
    cells = tuple(_cell(number, node) for number, node in enumerate(notebook.cells, 1))
    return Lesson(name, folder, notebook, cells)


def _cell(number, node):
    if node.cell_type != "code":
        return Cell(number, "prose", node.source, node.metadata)
    return Cell(
        number,
        "code",
        node.source,
        node.metadata,
        tuple(node.outputs),
        node.execution_count,
    )


def fences(source):
    """The fenced blocks of a prose cell, as (language, code)."""
    return [
        (match["language"].strip(), match["code"]) for match in FENCE.finditer(source)
    ]


def without_code(source):
    """Prose without its fenced blocks and inline code."""
    return INLINE_CODE.sub("code", FENCE.sub("", source))


def words(source):
    """How many words a reader reads.

    Folded text and inline code count; fenced code, tags and link targets do not.
    """
    text = LINK.sub(r"\g<text>", TAG.sub(" ", FENCE.sub("", source)))
    return sum(1 for word in text.split() if re.search(r"\w", word))


def headings(lesson):
    """All headings in reading order, as (cell, level, text)."""
    return [
        (cell, len(match["marks"]), match["text"])
        for cell in lesson.prose
        for match in HEADING.finditer(FENCE.sub("", cell.source))
    ]


def links(cell):
    """The targets of a prose cell's links."""
    return [match["target"] for match in LINK.finditer(without_code(cell.source))]


def code_lines(cell):
    """The lines of a code cell that are not blank."""
    return [line for line in cell.source.splitlines() if line.strip()]


@cache
def tree(source):
    """A cell's syntax tree (magics become calls), or None where it is not Python."""
    try:
        return ast.parse(TransformerManager().transform_cell(source))
    except SyntaxError:
        return None


def top_level(source):
    """The statements of a cell, none where it is not Python."""
    return getattr(tree(source), "body", [])


def nodes(source):
    """Every node of a cell's syntax tree, statement by statement."""
    for statement in top_level(source):
        yield from ast.walk(statement)


def calls(cell, name):
    """All calls of a plain name in a code cell: `calls(cell, "check")`."""
    found = [node for node in nodes(cell.source) if isinstance(node, ast.Call)]
    return [call for call in found if getattr(call.func, "id", None) == name]


def printed(cell):
    """The text a code cell showed, charts in words included, tracebacks not."""
    texts = [output.get("text", "") for output in cell.outputs]
    texts += [output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(text for text in texts if text)


def exercises(lesson):
    """Every exercise whose title has three cells below it.

    Whether those three are what an exercise needs is for the house rules to say.
    """
    found = []
    for index, cell in enumerate(lesson.cells[:-3]):
        title = EXERCISE.search(cell.source) if cell.kind == "prose" else None
        if title:
            name = title["section"] + title["letter"]
            found.append(
                Exercise(name, title["title"], *lesson.cells[index : index + 4])
            )
    return found
