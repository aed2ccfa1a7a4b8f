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
from urllib.parse import quote

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
RUN_LIMIT = 240  # seconds for all cells of one notebook
TRIES = 6
SIGHT_LIMIT = 15  # seconds until a chart that was scrolled to is on the screen

# What Jupyter would otherwise keep in the home folder of whoever runs the tests.
OWN = (
    *("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"),
    *("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR"),
)

CELL = ".jp-Notebook .jp-Cell"
ACTIVE = f"{CELL}.jp-mod-active"
OUTPUT = ".jp-OutputArea-output"
CHART = f"{OUTPUT} img"
IDLE = '.jp-Notebook-ExecutionIndicator[data-status="idle"]'
# Before it is connected, the indicator calls a kernel idle; the status bar does not.
CONNECTED = '#jp-main-statusbar :text("| Idle")'
TAB = "#jp-main-dock-panel .lm-TabBar-tab"
DIALOG = ".jp-Dialog"
POPUP = ".Toastify__toast"
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
    own.mkdir()
    with (own / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "lessons_support", "--no-browser"],
            cwd=course,
            env=os.environ | {name: str(own / name) for name in OWN},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _lab(server, own, course / "my-lessons")
    finally:
        server.terminate()
        try:
            server.wait(LIMIT)
        finally:
            server.kill()


def _lab(server, own, notebooks):
    """The server, as soon as it has written down where it is."""
    until = time.monotonic() + LIMIT
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
async def page_of(launched, **size):
    """An empty page in a browser that remembers nothing of other pages."""
    context = await launched.new_context(viewport=SIZE | size)
    context.set_default_timeout(LIMIT * 1000)
    try:
        yield await context.new_page()
    finally:
        await context.close()


@asynccontextmanager
async def opened(launched, lab, lesson, **size):
    """The lesson in a page of its own; its kernel ends with the block."""
    async with page_of(launched, **size) as page:
        try:
            file = quote(f"{lesson.name}.ipynb")
            # In a workspace of the tests, so that the learner's own stays untouched.
            place = f"{lab.url}lab/workspaces/tests/tree/{file}"
            await page.goto(f"{place}?token={lab.token}&reset")
            await ready(page, lesson)
            yield Tab(page)
        finally:
            await _end_kernel(page.request, lab, lesson)


async def ready(page, lesson):
    """Wait until all cells are there, one has the keyboard, the kernel is idle."""
    await page.wait_for_selector(CONNECTED)
    await page.wait_for_function(COUNT, arg=[CELL, len(lesson.cells)])
    await page.wait_for_selector(f"{ACTIVE}:focus")


async def _end_kernel(request, lab, lesson):
    sessions = f"{lab.url}api/sessions"
    headers = {"Authorization": f"token {lab.token}"}
    for session in await (await request.get(sessions, headers=headers)).json():
        if session["path"] == f"{lesson.name}.ipynb":
            await request.delete(f"{sessions}/{session['id']}", headers=headers)


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
            if not await self._comes_true(SCROLLED_TO, chart)
        ]

    async def has_chart_in_sight(self):
        """Whether the active cell's chart is on the screen, without scrolling to it."""
        chart = await self.page.locator(ACTIVE).locator(CHART).element_handle()
        return await self._comes_true(IN_SIGHT, chart)

    async def active(self):
        """The number of the cell that has the frame."""
        index = "cell => Number(cell.dataset.windowedListIndex)"
        return 1 + await self.page.locator(ACTIVE).evaluate(index)

    def cell(self, number):
        return self.page.locator(CELL).nth(number - 1)

    # --- with the mouse

    async def run_all(self, limit=RUN_LIMIT):
        """Restart & Run All on cleared cells, until all have run or the limit ends."""
        await self.choose("Edit", CLEAR)
        await self.choose("Kernel", RESTART)
        await self.page.locator(f"{DIALOG} .jp-mod-accept").click()
        await self.ran(limit)

    async def stop(self):
        """Press ■."""
        await self.page.locator(STOP).click()

    async def go_to(self, number):
        await self.cell(number).locator(".cm-content").click()

    async def choose(self, menu, item):
        await self.page.locator(f'.lm-MenuBar-itemLabel:text-is("{menu}")').click()
        await self.page.locator(f'li.lm-Menu-item:has-text("{item}")').click()

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
        await self.page.wait_for_selector(f"{DIALOG} .jp-mod-accept:focus")
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
        await self.page.wait_for_function(
            ANEW, arg=[prompt, before], timeout=limit * 1000
        )

    async def ran(self, limit=RUN_LIMIT):
        """Wait until cells have begun and none is at work, or the limit ends."""
        await self.page.wait_for_function(BEGUN)
        await self._comes_true(ENDED, IDLE, limit)

    async def _appears(self, selector):
        return await _in_time(
            self.page.wait_for_selector(selector, timeout=SIGHT_LIMIT * 1000)
        )

    async def _comes_true(self, script, argument, limit=SIGHT_LIMIT):
        return await _in_time(
            self.page.wait_for_function(script, arg=argument, timeout=limit * 1000)
        )


async def _in_time(waiting):
    """Whether what a page was asked to wait for has come before the limit."""
    from playwright.async_api import TimeoutError

    try:
        await waiting
    except TimeoutError:
        return False
    return True
