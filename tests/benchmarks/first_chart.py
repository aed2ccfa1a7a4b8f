"""How long a new learner waits for the first chart of the first lesson.

`python tests/benchmarks/first_chart.py`, in the course's environment with what
`tests/browser.txt` names: a fresh clone, the README's line, a browser, and the cells
run one after another, without reading, until the chart is on the screen. Once the
packages have been fetched, pip has them in its cache.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from browser import CHART, PROJECT, Tab, browser, lab_of, page_of, ready
from lessons import NOTEBOOKS, calls, read

LIMIT = 900  # seconds for the set-up
LESSON = read(NOTEBOOKS[0])
DRAWS = next(cell for cell in LESSON.code if calls(cell, "draw"))


async def show(lab):
    """Open what the line shows, and run it down to the first chart."""
    async with browser() as launched, page_of(launched) as page:
        await page.goto(lab.front)
        await ready(page, LESSON)
        opened, tab = time.monotonic(), Tab(page)
        for cell in LESSON.cells[: DRAWS.number]:
            await tab.walk_to(cell.number)
            await tab.press("Shift+Enter")
        await tab.cell(DRAWS.number).locator(CHART).wait_for()
        await tab.walk_to(DRAWS.number)
        assert await tab.has_chart_in_sight()
        return opened, time.monotonic()


def main():
    # The environment has no pip of its own; the Python that it was made with has.
    python = str(Path(sys.base_prefix, "bin", "python3"))
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder, "course")
        subprocess.run(["git", "clone", "--quiet", PROJECT, course], check=True)
        begun = time.monotonic()
        with lab_of(course, Path(folder, "own"), python, LIMIT) as lab:
            serves = time.monotonic()
            opened, shown = asyncio.run(show(lab))
    print(f"the server answers after {serves - begun:.0f} s")
    print(f"the first lesson is open after {opened - begun:.0f} s")
    print(f"the first chart is on the screen after {shown - begun:.0f} s")


if __name__ == "__main__":
    main()
