"""JupyterLab in a real browser: what a learner's hands and eyes do, as verbs."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # who learns has no need of it, and it is large
    from playwright.async_api import Page

PROJECT = Path(__file__).resolve().parent.parent
PROGRAMS = "chromium", "chromium-browser", "google-chrome"
# Root has no sandbox, and a browser is not to fetch things behind a test's back.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
)
SIZE = {"width": 1300, "height": 1000}
LIMIT = 90  # seconds until what a page has to show counts as missing
GLANCE = 200  # milliseconds between two looks; else a page draws itself for each look
RUN_LIMIT = 240  # seconds for all cells of one notebook
TRIES = 6
SIGHT_LIMIT = 15  # seconds until a chart that was scrolled to is on the screen

# What Jupyter would otherwise keep in the home folder of whoever runs the tests.
OWN = (
    *("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"),
    *("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR"),
)

MENU = ".lm-MenuBar-itemLabel"
CELL = ".jp-Notebook .jp-Cell"
ACTIVE = f"{CELL}.jp-mod-active"
OUTPUT = ".jp-OutputArea-output"
CHART = f"{OUTPUT} img"
IDLE = '.jp-Notebook-ExecutionIndicator[data-status="idle"]'
# Before it is connected, the indicator calls a kernel idle; the status bar does not.
CONNECTED = '#jp-main-statusbar :text("| Idle")'
UNSAVED = ".lm-TabBar-tab.jp-mod-dirty"
TAB = "#jp-main-dock-panel .lm-TabBar-tab"
DIALOG = ".jp-Dialog"
ACCEPT = f"{DIALOG} .jp-mod-accept"
POPUP = ".Toastify__toast"
OPEN, CLOSE = "Open from Path", "Close and Shut Down Notebook"
CLEAR, RESTART = "Clear Outputs of All Cells", "Restart Kernel and Run All Cells"
STOP = '.jp-Toolbar [data-command="notebook:interrupt-kernel"]'
PALETTE = ".lm-CommandPalette-input:focus"
CHOSEN = ".lm-CommandPalette-item.lm-mod-active"

# textContent, because innerText is empty for what the browser has not drawn yet.
LOOK = """cells => cells.map(cell => ({
    prompt: cell.querySelector(".jp-InputPrompt")?.textContent ?? "",
    errors: cell.querySelectorAll('[data-mime-type$=".stderr"]').length,
    charts: cell.querySelectorAll(".jp-OutputArea-output img").length,
}))"""
COUNT = "([cells, count]) => document.querySelectorAll(cells).length == count"
PROMPTS = """[...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")]
    .map(prompt => prompt.textContent)"""
BEGUN = f"() => {PROMPTS}.some(prompt => prompt != '[ ]:')"
ENDED = f"""idle => document.querySelector(idle) != null
    && {PROMPTS}.every(prompt => prompt != '[*]:')"""
ANEW = "([prompt, before]) => ![before, '[*]:'].includes(prompt.textContent)"
# Whether a finger put on its middle would touch it.
IN_SIGHT = """element => {
    const box = element.getBoundingClientRect();
    const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
    return element.contains(document.elementFromPoint(x, y));
}"""
SCROLLED_TO = f"""image => {{
    const inSight = {IN_SIGHT};
    if (image.naturalWidth > 0 && inSight(image)) return true;
    image.scrollIntoView({{block: "center"}});
    return false;
}}"""


def program():
    """The browser to drive, or None where the machine has none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def missing():
    """What is not here that these tests need, and how to get it, in a sentence."""
    if program() is None:
        return "this needs Chromium: sudo apt-get install chromium"
    if find_spec("playwright") is None:
        pip = "python3 -m pip --python .venv/bin/python install"
        return f"this needs Playwright: {pip} --requirement tests/browser.txt"
    return ""


# --- the server


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address and token, and the page it opens by itself.

    ``notebooks`` are the copies of the lessons that it shows.
    """

    url: str
    token: str
    front: str
    notebooks: Path


@contextmanager
def served(folder):
    """JupyterLab, started by the README's line in a copy of the course."""
    course, own = folder / "course", folder / "own"
    hidden = shutil.ignore_patterns(".*", "__pycache__")
    for name in "lessons_support", "notebooks":
        shutil.copytree(PROJECT / name, course / name, ignore=hidden)
    # The line sets nothing up if it runs in .venv: lend it the one we run in.
    (course / ".venv").symlink_to(sys.prefix)
    with lab_of(course, own, sys.executable) as lab:
        yield lab


@contextmanager
def lab_of(course, own, python, limit=LIMIT):
    """JupyterLab, started in a course by the README's line; `own` is for its files."""
    own.mkdir()
    with (own / "log").open("w") as log:
        server = subprocess.Popen(
            [python, "-m", "lessons_support", "--no-browser"],
            cwd=course,
            env=os.environ | {name: str(own / name) for name in OWN},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _lab(server, own, course / "my-lessons", limit)
    finally:
        server.terminate()
        try:
            server.wait(LIMIT)
        finally:
            server.kill()


def _lab(server, own, notebooks, limit):
    """The server, as soon as it has written down where it is."""
    until = time.monotonic() + limit
    while server.poll() is None and time.monotonic() < until:
        for front in (own / "JUPYTER_RUNTIME_DIR").glob("jpserver-*-open.html"):
            about = front.with_name(front.name.replace("-open.html", ".json"))
            wrote = json.loads(about.read_text())
            return Lab(wrote["url"], wrote["token"], front.as_uri(), notebooks)
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{(own / 'log').read_text()}")


# --- the browser


@asynccontextmanager
async def browser():
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=program(), args=FLAGS
        )
        try:
            yield launched
        finally:
            await launched.close()


@asynccontextmanager
async def page_of(launched):
    """An empty page in a browser that remembers nothing of other pages."""
    context = await launched.new_context(viewport=SIZE)
    context.set_default_timeout(LIMIT * 1000)
    try:
        yield await context.new_page()
    finally:
        await context.close()


@asynccontextmanager
async def desk(launched, lab):
    """JupyterLab in a page, with no lesson open. To load it takes longer than a lesson.

    It has a workspace of the tests, so that the learner's own stays untouched.
    """
    async with page_of(launched) as page:
        await page.goto(f"{lab.url}lab/workspaces/tests?token={lab.token}&reset")
        await page.wait_for_selector(MENU)
        yield page


@asynccontextmanager
async def opened(page, lesson):
    """The lesson, opened at a desk; at the end it is closed, and so is its kernel."""
    await choose(page, "File", OPEN)
    await page.locator(f"{DIALOG} input").fill(f"{lesson.name}.ipynb")
    await page.keyboard.press("Enter")
    await ready(page, lesson)
    try:
        yield Tab(page)
    finally:
        await choose(page, "File", CLOSE)
        await page.locator(ACCEPT).click()
        await comes_true(page, COUNT, [CELL, 0])


async def ready(page, lesson):
    """Wait until all cells are there, one has the keyboard, the kernel is idle."""
    await page.wait_for_selector(CONNECTED)
    await comes_true(page, COUNT, [CELL, len(lesson.cells)])
    await page.wait_for_selector(f"{ACTIVE}:focus")


async def choose(page, menu, item):
    await page.locator(f'{MENU}:text-is("{menu}")').click()
    await page.locator(f'li.lm-Menu-item:has-text("{item}")').click()


async def comes_true(page, script, argument=None, limit=LIMIT):
    """Wait until a script says so, or raise TimeoutError at the limit."""
    options = {"arg": argument, "polling": GLANCE, "timeout": limit * 1000}
    await page.wait_for_function(script, **options)


@dataclass(frozen=True)
class Tab:
    """A notebook in front of a learner; cells are numbered from 1, as in `lessons`."""

    page: "Page"

    # --- looking

    async def look(self):
        """Of each cell: its prompt, and how many errors and charts are below it."""
        return await self.page.locator(CELL).evaluate_all(LOOK)

    async def text(self, number):
        """What stands below a cell."""
        outputs = self.cell(number).locator(OUTPUT)
        return "\n".join(await outputs.all_text_contents()).strip()

    async def unseen_charts(self):
        """The numbers of the charts that are not seen when they are scrolled to."""
        charts = await self.page.locator(CHART).element_handles()
        return [
            number
            for number, chart in enumerate(charts, 1)
            if not await _in_time(
                comes_true(self.page, SCROLLED_TO, chart, SIGHT_LIMIT)
            )
        ]

    async def has_chart_in_sight(self):
        """Whether the active cell's chart is on the screen, without scrolling to it."""
        chart = await self.page.locator(ACTIVE).locator(CHART).element_handle()
        return await self._comes_to_sight(IN_SIGHT, chart)

    async def active(self):
        """The number of the cell that has the frame."""
        index = "cell => Number(cell.dataset.windowedListIndex)"
        return 1 + await self.page.locator(ACTIVE).evaluate(index)

    def cell(self, number):
        return self.page.locator(CELL).nth(number - 1)

    # --- with the mouse

    async def run_all(self, limit=RUN_LIMIT):
        """Restart & Run All on cleared cells, until all have run or the limit ends."""
        await choose(self.page, "Edit", CLEAR)
        await choose(self.page, "Kernel", RESTART)
        await self.page.locator(ACCEPT).click()
        await self.ran(limit)

    async def stop(self):
        """Press ■."""
        await self.page.locator(STOP).click()

    async def go_to(self, number):
        await self.cell(number).locator(".cm-content").click()

    # --- with the keyboard

    async def press(self, *keys):
        for key in keys:
            await self.page.keyboard.press(key)

    async def command(self, name):
        """Choose a command from the list of all; try again what came too early."""
        for _ in range(TRIES):
            await self.press("Escape", "Control+Shift+c")
            if await self._appears(PALETTE):
                await self.page.keyboard.type(name)
                if await self._appears(f'{CHOSEN}:has-text("{name}")'):
                    return await self.press("Enter")
        raise TimeoutError(f"the list of commands did not show {name}")

    async def run_all_by_keyboard(self):
        await self.command(CLEAR)
        await self.command(RESTART)
        await self.page.wait_for_selector(f"{ACCEPT}:focus")
        await self.press("Enter")
        await self.ran()

    async def walk_to(self, number):
        """Press ↓ or ↑ until that cell is the active one."""
        while away := number - await self.active():
            await self.press("ArrowDown" if away > 0 else "ArrowUp")

    async def unfold(self):
        """Walk with Tab to what is folded in the active cell, and open it."""
        while not await self.page.locator(f"{ACTIVE} summary:focus").count():
            await self.press("Tab")
        await self.press("Space")

    async def write(self, code):
        """Replace the cell by code, typed; the editor's own indents are typed over."""
        await self.press("Control+a", "Delete")
        for number, line in enumerate(code.rstrip().splitlines()):
            if number:
                await self.press("Enter", "Shift+Home")
            await self.page.keyboard.type(line)

    async def run(self, number):
        """Run the active cell, which is that one, and wait until it has ended."""
        before = (await self.look())[number - 1]["prompt"]
        await self.press("Shift+Enter")
        await self.numbered(number, before)

    # --- waiting

    async def shows(self, number, text):
        """Wait until a text stands below a cell."""
        await self.cell(number).locator(OUTPUT, has_text=text).wait_for()

    async def numbered(self, number, before="[ ]:", limit=LIMIT):
        """Wait until a cell has a number, and another one than before."""
        prompt = await self.cell(number).locator(".jp-InputPrompt").element_handle()
        await comes_true(self.page, ANEW, [prompt, before], limit)

    async def ran(self, limit=RUN_LIMIT):
        """Wait until cells have begun and none is at work, or the limit ends."""
        await comes_true(self.page, BEGUN)
        await _in_time(comes_true(self.page, ENDED, IDLE, limit))

    async def _appears(self, selector):
        return await _in_time(
            self.page.wait_for_selector(selector, timeout=SIGHT_LIMIT * 1000)
        )

    async def _comes_to_sight(self, script, element):
        return await _in_time(comes_true(self.page, script, element, SIGHT_LIMIT))


async def _in_time(waiting):
    """Whether what a page was asked to wait for has come before the limit."""
    from playwright.async_api import TimeoutError

    try:
        await waiting
    except TimeoutError:
        return False
    return True
