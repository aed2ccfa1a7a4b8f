"""In a notebook's kernel, what is loaded is kept out of garbage collections."""

import asyncio
import gc
import subprocess
import sys
import weakref

import pytest
from kernels import kernel

from lessons_support.garbage import let_go

LOAD = "import gc, time, sqlalchemy.orm, fastapi, matplotlib.figure"
TAKES = """
def takes():
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        gc.collect()
        times.append(time.perf_counter() - begun)
    return sorted(times)[2]
before = takes()
"""
SPARED = "from lessons_support import record; print(takes() < before / 4)"
OWN = "a = []; a.append(a); import weakref\nclass C: pass\nc = C(); c.c = c"
GONE = "w = weakref.ref(c); del c; print(gc.collect() > 0, w() is None)"


async def printed(folder, *cells):
    shown = []

    def note(message):
        if message["msg_type"] == "stream":
            shown.append(message["content"]["text"])

    async with kernel(folder) as client:
        for cell in cells:
            reply = await client.execute_interactive(cell, output_hook=note, timeout=60)
            assert reply["content"]["status"] == "ok"
    return shown


def test_collections_have_little_to_look_at_once_a_lesson_has_begun(tmp_path):
    cells = LOAD, TAKES, SPARED, OWN, GONE
    assert asyncio.run(printed(tmp_path, *cells)) == ["True\n", "True True\n"]


def test_a_rehearsal_leaves_aside_what_was_set_aside(tmp_path):
    rehearsed = "from lessons_support import rehearse; rehearse(print).result"
    cells = LOAD, TAKES, SPARED, rehearsed, "print(takes() < before / 4)"
    assert asyncio.run(printed(tmp_path, *cells)) == ["True\n", "\n", "True\n"]


LEAVES = """
from lessons_support import check
async def fetch(): pass
kept = [fetch()]
kept.append(kept)
del kept
check(1 == 2, "the first")
"""


def test_what_an_answer_leaves_complains_below_its_own_check(tmp_path):
    first, second = LEAVES, "check(1 == 1, 'the second')"
    *complaint, last = asyncio.run(printed(tmp_path, first, second))
    assert "coroutine 'fetch' was never awaited" in "".join(complaint)
    assert last == "✓ the second\n"


def test_a_script_keeps_its_collector():
    count = "gc.get_freeze_count()"  # Python 3.12 sets some objects aside by itself
    load = "from lessons_support import record"
    code = f"import gc; before = {count}; {load}; print({count} - before)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "0\n"


class Held:
    pass


@pytest.fixture
def no_collections():
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collections")
def test_what_an_error_and_its_cause_hold_is_let_go_at_once():
    held = []

    def fail():
        thing = Held()
        held.append(weakref.ref(thing))
        try:
            raise ValueError
        except ValueError as error:
            kept = error  # it holds this line, which holds it
            raise KeyError from kept

    with pytest.raises(KeyError) as caught:
        fail()
    assert held[0]() is not None
    let_go(caught.value)
    assert held[0]() is None
