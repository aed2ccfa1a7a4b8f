"""A website of the lessons, for reading without running: plain pages, nothing to load.

nbconvert makes the pages' insides; the frame around them is ``website.html``.
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jinja2 import Template
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_output
from pygments.formatters import HtmlFormatter

from lessons_support.course import FOLDER

LINK = re.compile(r"(\]\([^)\s:]+)\.ipynb\b")
WORDS = Template(
    '<details class="chart"><summary>The chart in words</summary>'
    "{% for line in words.splitlines() %}<p>{{ line }}</p>{% endfor %}</details>",
    autoescape=True,
)
FRAME = Template(Path(__file__).with_suffix(".html").read_text(), autoescape=True)
COLOURS = HtmlFormatter(style="default").get_style_defs(".highlight")


@dataclass(frozen=True)
class Page:
    """One lesson: where its page is, its title, and the question that it answers."""

    address: str
    title: str
    question: str
    body: str


def build(lessons: Path, site: Path) -> list[Page]:
    """Write a page for each notebook of a folder, and an ``index.html``.

    Raises ValueError if there is no notebook, and OSError.
    """
    paths = sorted(lessons.glob("*.ipynb"))
    if not paths:
        raise ValueError(f"{lessons} has no notebooks")
    site.mkdir(parents=True, exist_ok=True)
    exporter = HTMLExporter(template_name="basic")
    pages = [_page(path, exporter) for path in paths]
    for number, page in enumerate(pages):
        around = {
            "before": pages[number - 1] if number else None,
            "after": pages[number + 1] if page is not pages[-1] else None,
        }
        _write(site / page.address, page=page, **around)
    _write(site / "index.html", pages=pages)
    for program in lessons.glob("*.py"):
        shutil.copy(program, site)
    return pages


def _page(path: Path, exporter: HTMLExporter) -> Page:
    notebook = nbformat.read(path, 4)
    title, question = _opening(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(r"\1.html", cell.source)
        else:
            cell.outputs = [y for x in cell.outputs for y in _with_words(x)]
    body, _ = exporter.from_notebook_node(notebook)
    return Page(path.with_suffix(".html").name, title, question, body)


def _with_words(output: NotebookNode) -> list[NotebookNode]:
    """An output, and behind a chart its words: on a phone its letters are too small."""
    data = output.get("data", {})
    if not {"image/png", "text/plain"} <= data.keys():
        return [output]
    words = {"text/html": WORDS.render(words=data["text/plain"])}
    return [output, new_output("display_data", words)]


def _opening(notebook: NotebookNode) -> tuple[str, str]:
    """A lesson's title and its first sentence, in plain letters."""
    title, _, rest = notebook.cells[0].source.partition("\n\n")
    first = rest.partition("\n\n")[0]
    return title.lstrip("# ").replace("`", ""), first.replace("`", "")


def _write(path: Path, **what: object) -> None:
    path.write_text(FRAME.render(colours=COLOURS, **what), encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Write the website into the folder that is asked for, and say where it is."""
    if len(arguments) > 1:
        sys.exit("site takes one folder: python3 -m lessons_support site [FOLDER]")
    site = Path(*arguments or ["site"]).resolve()
    print("Writing the website, in about ten seconds.", flush=True)
    try:
        build(FOLDER, site)
    except OSError as error:
        sys.exit(f"The website could not be written: {error}.")
    print(f"The website is in {site}: open index.html.")


if __name__ == "__main__":
    main(sys.argv[1:])
