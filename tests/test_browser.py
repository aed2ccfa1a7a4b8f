"""The lessons in a browser, as a learner meets them: JupyterLab, mouse and keyboard.

One JupyterLab serves a copy of the course to all tests, at a few desks: pages of one
browser in which lessons are opened and closed. Nothing here looks at the kernel: what
counts is what stands on the page.
"""

import asyncio
import json
import os
import re
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import nbformat
import pytest
from browser import (
    CLEAR,
    DIALOG,
    IN_SIGHT,
    POPUP,
    TAB,
    UNSAVED,
    browser,
    desk,
    missing,
    opened,
    page_of,
    ready,
    served,
)
from lessons import NOTEBOOKS, exercises, lesson, printed, read
from nbformat import v4
from test_exercises import answers
from test_programs import address, started

from lessons_support.progress import lessons
from lessons_support.website import build

pytestmark = pytest.mark.equipment

FETCH = next(path for path in NOTEBOOKS if path.stem.startswith("2.4-"))
DESKS = 3
FAULT_LIMIT = 10  # seconds for a notebook of which a cell never ends
STOP_LIMIT = 30  # seconds; the cells that are stopped would never end
SETTLED = 5  # seconds after which nothing more opens by itself


@pytest.fixture(scope="session", autouse=True)
def chromium():
    """Skip without a browser; where the tests have to run, fail."""
    if missing():
        without = pytest.fail if os.environ.get("CI") else pytest.skip
        without(missing())


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    with served(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="session")
def run():
    """What runs a coroutine on the one loop to which the browser belongs."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="session")
def launched(chromium, run):
    stack = AsyncExitStack()
    yield run(stack.enter_async_context(browser()))
    run(stack.aclose())


@pytest.fixture(scope="session")
def desks(run, launched, lab):
    """The desks that are free."""
    stack, free = AsyncExitStack(), asyncio.Queue()

    async def set_up():
        for _ in range(DESKS):
            free.put_nowait(await stack.enter_async_context(desk(launched, lab)))

    run(set_up())
    yield free
    run(stack.aclose())


@asynccontextmanager
async def open_at(desks, lesson):
    """A lesson, opened at the first desk that is free."""
    page = await desks.get()
    try:
        async with opened(page, lesson) as tab:
            yield tab
    finally:
        desks.put_nowait(page)


async def collected(given):
    return [one async for one in given]


def written(lab, name, *sources, outputs=()):
    """A lesson of the test's own, saved beside the others; its first cell's outputs."""
    cells = [v4.new_code_cell(source) for source in sources]
    cells[0].outputs = list(outputs)
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, lab.notebooks / f"{name}.ipynb")
    return lesson(notebook, name, lab.notebooks)


# --- Restart & Run All


def complaints(lesson, looks, unseen):
    """What is not on the page as Run All should leave it, one sentence each."""
    shown = [look for look in looks if look["prompt"]]
    for number, (cell, look) in enumerate(zip(lesson.code, shown, strict=True), 1):
        if look["prompt"] != f"[{number}]:":
            yield f"{cell} has the number {look['prompt']} instead of [{number}]:"
        if look["errors"] and not (cell.may_fail or cell.may_warn):
            yield f"{cell} shows an error"
        charts = sum("image/png" in output.get("data", ()) for output in cell.outputs)
        if look["charts"] != charts:
            yield f"{cell} shows {look['charts']} charts instead of {charts}"
    for number in unseen:
        yield f"chart {number} does not come to sight"


async def run_all(desks, lesson, **limit):
    async with open_at(desks, lesson) as tab:
        await tab.run_all(**limit)
        return list(complaints(lesson, await tab.look(), await tab.unseen_charts()))


async def all_of(lessons, work):
    """What is found in each lesson, or the exception that its run ended with."""
    return await asyncio.gather(*map(work, lessons), return_exceptions=True)


@pytest.fixture(scope="session")
def runs(request, run, desks):
    """What is found in each notebook that is asked for, by path."""
    items = request.session.items  # nbval's have no fixtures
    asked = [item for item in items if "runs" in getattr(item, "fixturenames", ())]
    paths = sorted({item.callspec.params["path"] for item in asked})
    found = run(all_of(map(read, paths), partial(run_all, desks)))
    return dict(zip(paths, found, strict=True))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_lesson_runs_in_a_browser(path, runs):
    if isinstance(runs[path], BaseException):
        raise runs[path]
    if runs[path]:
        title = f"{path.name} after Restart & Run All in a browser:"
        pytest.fail("\n".join([title, *runs[path]]), pytrace=False)


WAITS = "print('begun')\nawait asyncio.Event().wait()"
TURNS = "print('begun')\nwhile True:\n    pass"
BROKEN = "from IPython.display import Image\nImage(b'no picture', format='png')"
CHART = v4.new_output("display_data", {"image/png": ""})


FAULTS = {
    "a cell that fails": (
        ["1 / 0", "1 + 1"],
        (),
        ["shows an error", "the number [ ]: instead of [2]:"],
    ),
    "a cell that never ends": (
        ["import asyncio", WAITS],
        (),
        ["the number [*]: instead of [2]:"],
    ),
    "a missing chart": (["1 + 1"], (CHART,), ["shows 0 charts instead of 1"]),
    "a broken chart": ([BROKEN], (CHART,), ["chart 1 does not come to sight"]),
}


@pytest.fixture(scope="session")
def faulty(run, desks, lab):
    """What is found in each of the faulty notebooks."""
    lessons = [
        written(lab, name, *sources, outputs=outputs)
        for name, (sources, outputs, _) in FAULTS.items()
    ]

    found = run(all_of(lessons, partial(run_all, desks, limit=FAULT_LIMIT)))
    return dict(zip(FAULTS, found, strict=True))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_in_a_browser_reports(fault, faulty):
    if isinstance(faulty[fault], BaseException):
        raise faulty[fault]
    *_, expected = FAULTS[fault]
    assert len(faulty[fault]) == len(expected)
    assert all(map(str.endswith, faulty[fault], expected))


# --- the stop button


def test_stop_ends_a_cell_that_awaits_and_a_busy_one(run, desks, lab):
    first = "import asyncio\nfrom lessons_support import record"
    lesson = written(lab, "stop", first, WAITS, "1 + 1", TURNS, "2 + 2")

    async def stopped_twice():
        async with open_at(desks, lesson) as tab:
            await tab.go_to(1)
            await tab.run(1)
            for number in 2, 4:
                await tab.press("Shift+Enter")
                await tab.shows(number, "begun")
                await tab.stop()
                await tab.numbered(number, limit=STOP_LIMIT)
                await tab.go_to(number + 1)
                await tab.run(number + 1)
                yield await tab.text(number), await tab.text(number + 1)

    (waited, two), (turned, four) = run(collected(stopped_twice()))
    assert re.search("CancelledError|KeyboardInterrupt", waited)
    assert "KeyboardInterrupt" in turned
    assert (two, four) == ("2", "4")


# --- exercises


def told(text):
    """The claims; what was found stands in the chart, which is a picture here."""
    return [line for line in text.splitlines() if line[:2] in ("✓ ", "✗ ")]


def test_an_exercise_is_answered_wrongly_and_then_rightly(run, desks, lab):
    lesson = read(FETCH)
    exercise = exercises(lesson)[0]
    wrong = next(answer for answer in answers(exercise.name) if not answer.right)

    async def answered_twice():
        async with open_at(desks, lesson) as tab:
            await tab.run_all()
            for code in wrong.code, exercise.solution_code:
                await tab.go_to(exercise.answer.number)
                await tab.write(code)
                await tab.run(exercise.answer.number)
                await tab.run(exercise.check.number)
                yield told(await tab.text(exercise.check.number))

    first, second = run(collected(answered_twice()))
    assert {f"✗ {claim}" for claim in wrong.breaks} <= set(first)
    assert second == all_hold(exercise)
    assert exercise.name in {x for y in lessons(lab.notebooks) for x in y.done}


def all_hold(exercise):
    """What is told of a right answer: as shipped, no claim holds and all are told."""
    claims = [line for line in told(printed(exercise.check)) if line[0] == "✗"]
    return [line.replace("✗", "✓") for line in claims]


def test_a_lesson_needs_no_mouse(run, desks):
    lesson = read(FETCH)
    exercise = exercises(lesson)[0]

    async def by_keyboard():
        async with open_at(desks, lesson) as tab:
            await tab.command(CLEAR)
            await tab.walk_to(lesson.code[0].number)
            await tab.run(lesson.code[0].number)
            await tab.run_all_by_keyboard()
            found = list(complaints(lesson, await tab.look(), []))
            await tab.walk_to(exercise.answer.number)
            await tab.press("Enter")
            await tab.write(exercise.solution_code)
            await tab.run(exercise.answer.number)
            await tab.run(exercise.check.number)
            await tab.unfold()
            unfolded = await tab.cell(exercise.solution.number).inner_text()
            await tab.walk_to(exercise.check.number)
            text = await tab.text(exercise.check.number)
            return found, unfolded, told(text), await tab.has_chart_in_sight()

    found, unfolded, at_last, in_sight = run(by_keyboard())
    assert found == []
    assert "The star" in unfolded
    assert at_last == all_hold(exercise)
    assert in_sight


# --- the document's server


def test_main_02_shows_its_answer_in_a_browser_after_two_seconds(run, launched):
    async def visit(url):
        async with page_of(launched) as page:
            begun = time.monotonic()
            await page.goto(url)
            return json.loads(await page.inner_text("body")), time.monotonic() - begun

    with started("-m", "uvicorn", "main_02:app", "--port", "0") as server:
        answer, seconds = run(visit(address(server)))
    assert answer == {"message": "Hello", "fetched_data": {"data": "some_data"}}
    assert seconds > 1.99


# --- the first start


def test_the_first_start_shows_the_first_lesson_and_nothing_else(run, launched, lab):
    async def first_start():
        async with page_of(launched) as page:
            await page.goto(lab.front)
            await ready(page, read(NOTEBOOKS[0]))
            await asyncio.sleep(SETTLED)
            tabs = await page.locator(TAB).all_inner_texts()
            in_front = await page.locator("h1").first.evaluate(IN_SIGHT)
            in_the_way = page.locator(f"{DIALOG}, {POPUP}, {UNSAVED}")
            return tabs, in_front, await in_the_way.all_inner_texts()

    tabs, in_front, in_the_way = run(first_start())
    assert tabs == [NOTEBOOKS[0].name]
    assert in_front
    assert in_the_way == []


# --- the website

PHONE = {"width": 390, "height": 844}
TOO_WIDE = """() => [...document.querySelectorAll("img, .chart pre, body")]
    .filter(x => x.scrollWidth > x.clientWidth || x.clientWidth > innerWidth)
    .map(x => x.outerHTML.slice(0, 80))"""


def test_on_a_phone_a_chart_is_seen_whole_and_told_in_words(run, launched, tmp_path):
    build(NOTEBOOKS[0].parent, tmp_path)

    async def look(path):
        async with page_of(launched) as page:
            await page.set_viewport_size(PHONE)
            await page.goto((tmp_path / f"{path.stem}.html").as_uri())
            words = page.get_by_text("The chart in words")
            for summary in await words.all():
                await summary.click()
            charts = await page.locator("img").count()
            return charts, await words.count(), await page.evaluate(TOO_WIDE)

    for path in NOTEBOOKS:
        charts, told, too_wide = run(look(path))
        assert charts == told > 0
        assert too_wide == []
