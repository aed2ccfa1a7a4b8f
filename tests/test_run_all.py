"""Every notebook, run as JupyterLab's Run All does: all cells are queued at once.

nbclient and nbval send a cell when the one before has ended. JupyterLab sends all of
them, and then a loop that was patched, or a task that outlives its cell, can make the
kernel drop the cells that wait behind it. Only a run of this kind sees it.
"""

import ast
import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from kernels import kernel, side_by_side
from lessons import FOLDER, NOTEBOOKS, lesson, read
from nbformat import v4

RUN_LIMIT = 180  # seconds for all cells of one notebook
FAULT_LIMIT = 8  # seconds for notebooks of which some would hang for ever

# What is there in a kernel, in which no name of ours is to stay.
LEFT = Path(__file__).with_name("left.py").read_text()
THINGS = f"(lambda x: (exec({LEFT!r}, x), x['things']())[1])({{}})"


@dataclass
class Progress:
    """What one queued cell has answered so far."""

    status: str = "no reply"
    count: int | None = None
    shown: list = field(default_factory=list)
    idle: bool = False
    late: bool = False


@dataclass(frozen=True)
class Run:
    """One queued run: an answer for each code cell, and what belonged to none."""

    cells: tuple
    strays: tuple
    left: tuple


# --- running


def queue(client, cell):
    """Send a cell as JupyterLab does, without waiting, and return the message's id."""
    return client.execute(cell.source, stop_on_error=not cell.may_fail)


async def replies(client, progress):
    """Note each cell's reply, until all have come."""
    while any(answer.status == "no reply" for answer in progress.values()):
        message = await client.get_shell_msg()
        answer = progress.get(message["parent_header"].get("msg_id"))
        if answer is not None:
            answer.status = message["content"]["status"]
            answer.count = message["content"].get("execution_count")


async def outputs(client, progress, strays):
    """Note each cell's outputs, until all cells have said that they are idle."""
    while not all(answer.idle for answer in progress.values()):
        message = await client.get_iopub_msg()
        kind, content = message["msg_type"], message["content"]
        answer = progress.get(message["parent_header"].get("msg_id"))
        if kind == "status" and answer is not None:
            answer.idle = content["execution_state"] == "idle"
        elif kind in ("stream", "display_data", "execute_result", "error"):
            note(answer, kind, content, strays)


def note(answer, kind, content, strays):
    """Put an output where its parent says, or among the strays."""
    name = content.get("name", kind)
    if answer is None:
        strays.append(name)
    else:
        answer.shown.append(name)
        answer.late |= answer.idle


async def things(client):
    """How many things of each name are in the kernel; see `left`."""
    reply = await client.execute(
        "", silent=True, user_expressions={"things": THINGS}, reply=True
    )
    answer = reply["content"]["user_expressions"]["things"]
    return Counter(ast.literal_eval(answer["data"]["text/plain"]))


async def run_all(lesson, limit=RUN_LIMIT):
    """Queue all cells at once and collect what comes back, for `limit` seconds."""
    async with kernel(lesson.folder) as client:
        before, left, strays = await things(client), Counter(), []
        progress = {queue(client, cell): Progress() for cell in lesson.code}
        collectors = replies(client, progress), outputs(client, progress, strays)
        # Past the limit the cells that have not replied tell what there is to tell.
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await asyncio.gather(*collectors)
                left = await things(client) - before
        return Run(tuple(progress.values()), tuple(strays), tuple(left))


# --- judging


def cell_complaints(cell, number, answer):
    wanted = "error" if cell.may_fail else "ok"
    saved = {output.get("name", output.output_type) for output in cell.outputs}
    shown = set(answer.shown)
    if answer.status != wanted:
        yield f"{cell}: {answer.status}, expected {wanted}"
    elif answer.count != number:
        yield f"{cell} ran as number {answer.count}, expected {number}"
    elif shown != saved:
        yield f"{cell} shows {sorted(shown)}, as saved {sorted(saved)}"
    if answer.late:
        yield f"{cell} shows something after its end: let it await what it starts"
    if "stderr" in shown and not cell.may_warn:
        yield f"{cell} writes to stderr"


def complaints(lesson, run):
    """What was not as Run All should be, one sentence each."""
    answers = zip(lesson.code, run.cells, strict=True)
    found = [
        sentence
        for number, (cell, answer) in enumerate(answers, 1)
        for sentence in cell_complaints(cell, number, answer)
    ]
    found += [f"an output ({name}) belongs to no cell" for name in run.strays]
    return found + [f"left over at the end: {name}" for name in run.left]


# --- the notebooks


@pytest.fixture(scope="session")
def runs(request):
    """The runs of all notebooks that are asked for, by path."""
    asked = [item for item in request.session.items if uses_runs(item)]
    paths = sorted({item.callspec.params["path"] for item in asked})
    results = asyncio.run(side_by_side(run_all, map(read, paths)))
    return dict(zip(paths, results, strict=True))


def uses_runs(item):
    return (
        "runs" in getattr(item, "fixturenames", ()) and "path" in item.callspec.params
    )


def test_there_are_notebooks_to_run():
    assert NOTEBOOKS, f"no notebook in {FOLDER.name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_lesson_runs_when_all_cells_are_queued_at_once(path, runs):
    if isinstance(runs[path], BaseException):
        raise runs[path]
    if found := complaints(read(path), runs[path]):
        title = f"{path.name}, all cells queued at once:"
        pytest.fail("\n".join([title, *found]), pytrace=False)


# --- what such a run must see, and what it must let pass


BELOW = ["1 + 1", "2 + 2"]
NESTED = ["import asyncio, nest_asyncio\nnest_asyncio.apply()"]
LATE = (
    "async def speak():\n    await asyncio.sleep(0.3)\n    print('late')\n"
    "speaker = asyncio.create_task(speak())"
)
PROCESS = "import subprocess\nsleeper = subprocess.Popen(['sleep', '5'])"
SERVER = "import socket\nserver = socket.create_server(('127.0.0.1', 0))"
THREAD = (
    "import threading\nlurk = threading.Event().wait\n"
    "threading.Thread(target=lurk, name='lurker', daemon=True).start()"
)
FILE = "import pathlib, tempfile\npathlib.Path(tempfile.gettempdir(), 'crumb').touch()"
FAULTS = {
    "cells_dropped_behind_a_nested_loop": (
        [*NESTED, "asyncio.run(asyncio.sleep(0.2))", *BELOW],
        "no reply, expected ok",
    ),
    "a_cell_that_fails": (["1 / 0"], "error, expected ok"),
    "cells_dropped_behind_one_that_fails": (["1 / 0", "1"], "aborted, expected ok"),
    "a_cell_that_never_ends": (
        ["import asyncio\nawait asyncio.Event().wait()"],
        "no reply, expected ok",
    ),
    "a_kernel_that_dies": (["import os\nos._exit(1)", *BELOW], "no reply"),
    "an_output_after_the_cells_end": (
        ["import asyncio", LATE, "await asyncio.sleep(0.6)"],
        "shows something after its end",
    ),
    "a_task_left_over": (["import asyncio", LATE], "left over at the end: task speak"),
    "a_process_left_over": ([PROCESS], "left over at the end: process sleep 5"),
    "a_server_left_over": ([SERVER], "left over at the end: socket LISTEN"),
    "a_thread_left_over": ([THREAD], "left over at the end: thread lurker"),
    "a_file_left_over": ([FILE], "left over at the end: file crumb"),
    "a_warning": (["import warnings", "warnings.warn('no')"], "writes to stderr"),
    "an_output_that_was_not_saved": (["print(1)"], "shows ['stdout'], as saved []"),
}


def lesson_of(*sources, tags=()):
    cells = [v4.new_code_cell(source, metadata={"tags": tags}) for source in sources]
    return lesson(v4.new_notebook(cells=cells), "sample", FOLDER)


@pytest.fixture(scope="session")
def faulty():
    """What is found in each of the faulty notebooks."""
    lessons = [lesson_of(*sources) for sources, _ in FAULTS.values()]
    results = asyncio.run(side_by_side(partial(run_all, limit=FAULT_LIMIT), lessons))
    return dict(zip(FAULTS, map(complaints, lessons, results), strict=True))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_queued_run_reports(fault, faulty):
    _, expected = FAULTS[fault]
    assert expected in "\n".join(faulty[fault])


def test_a_wait_without_a_nested_loop_drops_nothing():
    harmless = lesson_of(
        "import asyncio", "await asyncio.sleep(0.2)", "x = 1", "x += 1"
    )
    assert complaints(harmless, asyncio.run(run_all(harmless))) == []


def test_a_wanted_error_stops_no_other_cell():
    wanted = lesson_of("1 / 0", "2 / 0", tags=["raises-exception"])
    run = asyncio.run(run_all(wanted))
    assert [(answer.status, answer.count) for answer in run.cells] == [
        ("error", 1),
        ("error", 2),
    ]
