import asyncio
import gc
import os
import sys
import threading
import time
import warnings
from textwrap import dedent, indent

import pytest
from kernels import kernel
from learners import FILE, PAGES, answer, fetch, rehearsed

from lessons_support.recorder import record
from lessons_support.rehearsal import MOST_PRINTED, rehearse

TOGETHER = """
    async def fetch_all(fetch, pages):
        return await asyncio.gather(*[fetch(page) for page in pages])
"""


# --- time


def test_waits_take_exact_time_and_no_real_time():
    begin = time.perf_counter()
    trial = rehearsed(TOGETHER)
    assert trial.elapsed == 2.0
    assert time.perf_counter() - begin < 1
    assert [x.ended for x in trial.lanes] == [2.0, 2.0, 1.0, 1.5]


@pytest.mark.parametrize("seconds", [0.1, 0.3, 4.5, 1e-3, 86_400.0, 31_536_000.0])
def test_three_waits_of_any_length_add_up_exactly(seconds):
    async def thrice():
        for _ in range(3):
            await asyncio.sleep(seconds)

    assert rehearse(thrice).elapsed == round(3 * seconds, 9)


def test_computing_is_free():
    async def compute():
        await asyncio.sleep(1)
        sum(range(100_000))
        await asyncio.sleep(1)

    assert rehearse(compute).elapsed == 2.0


def test_a_step_that_blocks_takes_its_real_length():
    async def held_up():
        await asyncio.sleep(0.1)

    async def block():
        task = asyncio.create_task(held_up())
        await asyncio.sleep(0)
        time.sleep(0.3)
        await task
        await asyncio.sleep(1)

    trial = rehearse(block)
    assert 1.3 <= trial.elapsed < 1.7
    [step] = trial.blocked
    assert step.lane == "block"
    assert "time.sleep(0.3)" in step.where
    ready = [x for x in trial.lane("held_up").intervals if x.state == "ready"]
    assert ready[-1].start == pytest.approx(0.1)
    assert ready[-1].end == pytest.approx(step.end)


def test_a_loop_sees_the_same_time_as_the_recording():
    async def clock():
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await asyncio.sleep(2)
        time.sleep(0.1)
        return loop.time() - begin

    trial = rehearse(clock)
    assert trial.result == pytest.approx(trial.elapsed, abs=0.02)


def test_asking_again_and_again_whether_a_moment_has_come_gets_there():
    async def impatient():
        loop = asyncio.get_running_loop()
        until = loop.time() + 2
        while loop.time() < until:
            await asyncio.sleep(0)
        return "there"

    trial = rehearse(impatient)
    assert trial.result == "there"
    assert trial.elapsed == pytest.approx(2, abs=0.01)


def test_a_thread_takes_real_time():
    async def elsewhere():
        await asyncio.gather(asyncio.to_thread(time.sleep, 0.2), asyncio.sleep(0.1))
        return "done"

    trial = rehearse(elsewhere)
    assert trial.result == "done"
    assert 0.15 < trial.elapsed < 1


def test_a_thread_that_wakes_a_task_is_waited_for():
    async def bridge():
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        timer = threading.Timer(0.1, loop.call_soon_threadsafe, [woken.set])
        timer.start()
        await woken.wait()
        timer.join()
        return "woken"

    assert rehearse(bridge).result == "woken"


def test_a_connection_works():
    async def talk():
        async def answer(reader, writer):
            writer.write(await reader.read(5))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        said = await reader.read()
        writer.close()
        server.close()
        return said

    assert rehearse(talk).result == b"hello"


# --- lanes


def test_the_first_lane_is_the_function_and_its_children_follow():
    trial = rehearsed(TOGETHER)
    lanes = [(x.name, x.kind, x.parent) for x in trial.lanes]
    assert lanes == [
        ("fetch_all", "block", None),
        ("fetch", "task", "fetch_all"),
        ("fetch (2)", "task", "fetch_all"),
        ("fetch (3)", "task", "fetch_all"),
    ]
    assert trial.most_in_flight == 3
    assert trial.order() == ["fetch (2)", "fetch (3)", "fetch"]


def test_tasks_that_end_at_the_same_moment_keep_their_order():
    async def relay():
        go = asyncio.Event()

        async def last():
            await go.wait()

        async def first():
            await asyncio.sleep(1)
            go.set()

        await asyncio.gather(last(), first())

    trial = rehearse(relay)
    assert {x.ended for x in trial.lanes} == {1.0}
    assert trial.order() == ["first", "last"]


def test_every_step_is_on_the_lane_though_it_takes_no_time():
    states = [x.state for x in rehearsed(TOGETHER).lane("fetch").intervals]
    assert states == ["run", "wait", "run"]


def test_a_recording_inside_a_rehearsal_has_the_same_clock():
    async def outer():
        await asyncio.sleep(1)
        with record() as inner:
            await asyncio.sleep(2)
        return inner

    assert rehearse(outer).result.elapsed == pytest.approx(2.0, abs=1e-9)


def test_a_rehearsal_inside_a_recording_leaves_both_whole():
    async def cell():
        with record() as outer:
            task = asyncio.create_task(asyncio.sleep(0.1), name="outside")
            trial = rehearsed(TOGETHER)
            await task
        return outer, trial

    outer, trial = asyncio.run(cell())
    assert trial.elapsed == 2.0
    assert outer.elapsed < 1
    assert [x.name for x in outer.lanes if x.kind == "task"] == ["outside"]


def test_a_rehearsal_inside_a_rehearsal_works():
    async def outer():
        return rehearsed(TOGETHER).elapsed

    assert rehearse(outer).result == 2.0


# --- what a function may do


def test_a_plain_function_gives_its_result_and_cannot_be_awaited():
    trial = rehearse(lambda: 7)
    assert trial.result == 7
    assert not trial.awaitable


def test_a_plain_function_that_returns_an_awaitable_is_awaited():
    def together():
        return asyncio.gather(fetch("news"), fetch("mail"))

    trial = rehearse(together)
    assert trial.result == ["NEWS", "MAIL"]
    assert trial.awaitable


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_is_raised_is_kept(error):
    async def fails():
        await asyncio.sleep(1)
        raise error("boom")

    trial = rehearse(fails)
    assert type(trial.exception) is error
    assert trial.elapsed == 1.0
    assert trial.lanes[0].outcome == error.__name__


def test_an_exit_in_a_task_is_kept():
    async def leave():
        sys.exit(3)

    async def program():
        await asyncio.create_task(leave())

    assert rehearse(program).exception.code == 3


@pytest.mark.parametrize("function", [None, 3, "fetch_all"])
def test_what_is_no_function_is_told(function):
    trial = rehearse(function)
    assert isinstance(trial.exception, TypeError)
    assert "expected a function" in str(trial.exception)


def test_a_wrong_number_of_arguments_is_told():
    assert "positional argument" in str(rehearse(fetch, 1, 2).exception)


def test_a_deadlock_is_found_at_once():
    begin = time.perf_counter()
    trial = rehearsed("""
        async def stuck(fetch, pages):
            queue = asyncio.Queue()

            async def worker():
                await queue.get()

            await asyncio.gather(worker(), fetch("news"))
    """)
    assert time.perf_counter() - begin < 1
    assert trial.stopped.why == "stuck"
    assert trial.elapsed == 2.0
    assert [x[:2] for x in trial.stopped.who] == [
        ("stuck", "gather"),
        ("worker", "Queue.get"),
    ]
    assert trial.stopped.who[1][2] == f"await queue.get() ({FILE}, line 5)"


ENDLESS = {
    "awaits nothing": "while True: await asyncio.sleep(0)",
    "awaits a second": "while True: await asyncio.sleep(1)",
    "computes": "while True: pass",
    "catches all": """
        while True:
            try:
                while True: pass
            except BaseException:
                pass
    """,
    "catches all, twice": """
        def inner():
            while True:
                try:
                    for _ in range(100): pass
                except BaseException as error:
                    kept = error
        while True:
            try:
                inner()
            except BaseException:
                pass
    """,
    "catches its cancellation": """
        while True:
            try:
                await asyncio.sleep(1)
            except BaseException:
                pass
    """,
    "computes in a child": """
        async def child():
            while True: pass
        await asyncio.gather(child(), asyncio.sleep(1))
    """,
    "cleans up for ever": """
        async def child():
            try:
                await asyncio.sleep(5)
            finally:
                while True: pass
        task = asyncio.create_task(child())
        await asyncio.sleep(1)
        while True: pass
    """,
}


def threads_and_files():
    gc.collect()
    return len(sys._current_frames()), sorted(os.listdir("/proc/self/fd"))


linux = pytest.mark.skipif(sys.platform != "linux", reason="counts files in /proc")


@linux
@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends_is_stopped_and_leaves_nothing_behind(body):
    before = threads_and_files()
    code = "async def on_and_on():\n" + indent(dedent(body), "    ")
    begin = time.perf_counter()
    trial = rehearse(answer(code), limit=0.3)
    assert time.perf_counter() - begin < 10
    assert trial.stopped.why in ("endless", "busy")
    assert any(f"({FILE}, line " in where for *_, where in trial.stopped.who)
    assert threads_and_files() == before


def test_what_cannot_be_stopped_is_told_and_ends_some_day():
    async def deaf():
        time.sleep(2.5)

    before = len(sys._current_frames())
    trial = rehearse(deaf, limit=0.2)
    assert trial.stopped.why == "unstoppable"
    time.sleep(2)
    assert len(sys._current_frames()) == before


def test_tasks_left_behind_are_told_and_then_cancelled():
    ends, kept = [], []

    async def slow():
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def hasty():
        kept.append(asyncio.create_task(slow()))
        await asyncio.sleep(1)

    trial = rehearse(hasty)
    assert trial.left_over == ("slow",)
    assert trial.elapsed == 1.0
    assert ends == ["cancelled"]


def test_a_coroutine_handed_back_never_warns():
    async def forgets():
        return [fetch("news")]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trial = rehearse(forgets)
        assert asyncio.iscoroutine(trial.result[0])
        del trial
        gc.collect()


def test_the_watched_function_looks_as_before():
    async def look(given):
        coroutine = given("news")
        name = coroutine.__qualname__
        return given.__name__, given.__doc__, name, await coroutine

    told = rehearse(look, fetch).result
    assert told == ("fetch", fetch.__doc__, "fetch", "NEWS")


# --- what is printed


def test_what_is_printed_is_kept_and_shown(capsys):
    async def talk():
        print("begin")
        await asyncio.sleep(2)
        print("end")

    trial = rehearse(talk)
    assert [tuple(x) for x in trial.printed] == [
        (0.0, "talk", "begin"),
        (2.0, "talk", "end"),
    ]
    assert capsys.readouterr().out == "begin\nend\n"


def test_ten_megabytes_are_kept_in_bounds(capsys):
    async def flood():
        print("x" * 10_000_000)
        for _ in range(1000):
            print("x" * 100)

    trial = rehearse(flood)
    assert sum(len(x.text) for x in trial.printed) <= MOST_PRINTED + 10
    assert len(capsys.readouterr().out) <= MOST_PRINTED + 10


IN_A_KERNEL = """
from lessons_support import check, draw, rehearse
import asyncio

async def chat(one, two):
    print("begin")
    return [await two(3), await two(4)]

async def double(number):
    print("double", number)
    await asyncio.sleep(1)
    return 2 * number

trial = rehearse(chat, double, double)
check(trial.result == [6, 8], "doubles")
print(*trial.findings)
"""


def test_in_a_notebook_the_cell_shows_what_is_printed_and_names_itself(tmp_path):
    texts = []

    def note(message):
        if message["msg_type"] in ("stream", "error"):
            texts.append(message["content"].get("text") or str(message["content"]))

    async def cell():
        async with kernel(tmp_path) as client:
            await client.execute_interactive(
                IN_A_KERNEL, timeout=90, output_hook=note, store_history=True
            )

    asyncio.run(cell())
    lines = "".join(texts).splitlines()
    assert lines[:4] == ["begin", "double 3", "double 4", "✓ doubles"]
    assert lines[4] == (
        "Two waits came one after another and took 2.0 s, their sum: return "
        "[await two(3), await two(4)] (cell In[1], line 6). "
        "Side by side they take 1.0 s, the longest."
    )


# --- nothing stays behind


@linux
def test_two_hundred_rehearsals_leave_no_thread_and_no_file():
    rehearsed(TOGETHER)
    before, hook = threads_and_files(), asyncio.events.Handle._run
    for _ in range(200):
        rehearsed(TOGETHER)
    assert threads_and_files() == before
    assert asyncio.events.Handle._run is hook
    assert threading.active_count() == len(threading.enumerate())


def test_a_thread_that_was_asked_for_its_name_is_not_kept():
    async def asks():
        return threading.current_thread().name

    before = threading.active_count()
    for _ in range(3):
        rehearse(asks)
    assert threading.active_count() == before


def test_the_garbage_collector_is_left_as_it_was():
    before = gc.get_threshold(), gc.get_freeze_count()

    async def looks():
        return gc.get_threshold()[2], rehearse(rests).result

    async def rests():
        await asyncio.sleep(1)
        return gc.get_threshold()[2]

    most, most_within = rehearse(looks).result
    assert most == most_within > 1_000_000
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
    assert gc.isenabled()


def test_a_rehearsal_works_where_a_loop_runs():
    async def cell():
        return rehearsed(TOGETHER).result

    assert asyncio.run(cell()) == ["NEWS", "MAIL", "MAP"]


def test_verdicts_are_equal_in_fifty_runs_while_others_compute():
    stop = threading.Event()

    def burn():
        while not stop.is_set():
            sum(range(1000))

    burners = [threading.Thread(target=burn) for _ in range(2)]
    for thread in burners:
        thread.start()
    try:
        trials = [rehearsed(TOGETHER) for _ in range(50)]
    finally:
        stop.set()
        for thread in burners:
            thread.join()
    verdicts = {(x.elapsed, tuple(x.result), x.findings, x.lanes) for x in trials}
    assert len(verdicts) == 1


def test_the_pages_are_those_of_the_lesson():
    assert rehearsed(TOGETHER).result == [page.upper() for page in PAGES]


# --- exceptions of unusual kinds


class Failures(Exception):
    def __init__(self, exceptions):
        self.exceptions = exceptions


class Mute(Exception):
    def __str__(self):
        return self.forgotten


def test_an_exception_may_be_its_own_cause():
    async def again():
        error = ValueError("no egg")
        raise error from error

    trial = rehearse(again)
    assert type(trial.exception) is ValueError
    assert trial.stopped is None


def test_an_exception_may_hold_others_in_its_own_way():
    async def several():
        raise Failures({"a": ValueError("no egg")})

    assert type(rehearse(several).exception) is Failures


def test_an_exception_may_be_unable_to_say_anything():
    async def fail():
        raise Mute

    async def safe(fail):
        try:
            await fail()
        except Mute:
            return "no page"

    assert rehearse(safe, fail).result == "no page"
    assert rehearse(fail).findings[0].startswith("fail failed with Mute, at ")
