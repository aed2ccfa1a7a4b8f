"""What record and span say of programs whose course is known."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import io
import json
import subprocess
import sys
import threading
import time
import warnings
import weakref
from asyncio import events, tasks
from contextlib import ExitStack

import pytest
from invariants import flaws

from lessons_support import record, rehearse, span
from lessons_support import recorder as recorder_module
from lessons_support import watch as watch_module
from lessons_support.timeline import READY, RUN, WAIT, Interval, Timeline

eager = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new")
LATE = 0.15
"""Seconds by which even a busy machine is not late."""


def recording(program, *args, **options) -> Timeline:
    """What happens while a program runs inside a recorded block, on a new loop."""

    async def block():
        with record() as timeline:
            await program(*args)
        kept.append(timeline)

    kept = []
    with asyncio.Runner(**options) as runner:
        runner.run(block())
    assert flaws(kept[0]) == []
    return kept[0]


async def fetch(seconds=0.0):
    await asyncio.sleep(seconds)


async def fail():
    raise LookupError("nobody is there")


def states(lane) -> list[str]:
    return [i.state for i in lane.intervals]


def reasons(lane, state=WAIT) -> list[str]:
    return [i.reason for i in lane.intervals if i.state == state]


def installed() -> list[object]:
    """Everything that a recording puts in place, and what stood there before."""
    return [
        events.Handle._run,
        warnings._warn_unawaited_coroutine,
        vars(sys.stdout).get("write"),
        watch_module.WATCHES.copy(),
        watch_module.LATEST,
        watch_module.WANTED.copy(),
        recorder_module.ACTIVE.copy(),
    ]


@pytest.fixture(autouse=True)
def everything_is_left_as_it_was_found():
    """No test of this file leaves a hook, or a thread, behind."""
    before, threads = installed(), len(sys._current_frames())
    yield
    assert installed() == before
    for _ in range(100):  # asyncio's own threads take a moment to be gone
        if len(sys._current_frames()) <= threads:
            break
        time.sleep(0.05)
    assert len(sys._current_frames()) <= threads


# --- the three states


def test_a_task_that_sleeps_is_ready_runs_waits_is_ready_and_runs():
    async def program():
        await asyncio.create_task(fetch(0.02))

    lane = recording(program).lane("fetch")
    assert states(lane) == [READY, RUN, WAIT, READY, RUN]
    assert reasons(lane) == ["sleep"]
    assert reasons(lane, READY) == ["block", "timer"]
    assert lane.outcome == "ok"


def test_a_blocked_sleeper_is_ready_from_its_deadline():
    async def program():
        sleeper = asyncio.create_task(fetch(0.1))
        await asyncio.sleep(0)
        time.sleep(0.4)
        await sleeper

    *_, wait, ready, _ = recording(program).lane("fetch").intervals
    assert wait.end - wait.start == pytest.approx(0.1, abs=0.05)
    assert ready.end - ready.start > 0.3 - LATE
    assert ready.reason == "timer"


def test_who_yields_with_sleep_zero_is_ready_and_never_waits():
    async def program():
        await asyncio.gather(fetch(), fetch())

    lane = recording(program).lane("fetch (2)")
    assert states(lane) == [READY, RUN, READY, RUN]


def test_a_task_woken_by_another_is_ready_at_once_and_names_its_waker():
    async def program():
        event = asyncio.Event()
        waiter = asyncio.create_task(event.wait(), name="waiter")

        async def open_the_gate():
            event.set()
            time.sleep(0.2)

        await asyncio.sleep(0)
        await asyncio.create_task(open_the_gate(), name="gate")
        await waiter

    timeline = recording(program)
    ready = timeline.lane("waiter").intervals[-2]
    assert (ready.state, ready.reason) == (READY, "gate")
    assert ready.end - ready.start >= 0.2
    assert timeline.lane("waiter").coroutine == "Event.wait"


def test_a_timer_and_a_blocking_step_make_two_tasks_ready_but_only_one_runs():
    async def busy():
        await asyncio.sleep(0.05)
        time.sleep(0.1)

    async def program():
        await asyncio.gather(*[busy() for _ in range(4)])

    timeline = recording(program)
    assert timeline.lane("busy (4)").seconds(READY) > 0.25
    assert timeline.overlap("busy", "busy (2)") < LATE


def test_the_loops_own_lane_says_what_ran_and_when_it_slept():
    async def program():
        await asyncio.create_task(fetch(0.1))

    (loop,) = recording(program).loops
    assert loop.name == "event loop"
    assert loop.kind == "loop"
    assert loop.intervals[0].reason == "block"
    assert loop.seconds(WAIT) > 0.1 - LATE / 2
    assert "fetch" in reasons(loop, RUN)
    assert "" in reasons(loop, RUN)  # the timer


def test_no_time_passes_between_a_lanes_intervals():
    async def program():
        queue = asyncio.Queue(1)

        async def producer():
            for number in range(50):
                await queue.put(number)

        async def consumer():
            for _ in range(50):
                await queue.get()

        await asyncio.gather(producer(), consumer(), fetch(0.01))

    timeline = recording(program)  # checks it
    assert len(timeline.lane("producer").intervals) > 50


# --- what is waited for


async def on_gather():
    await asyncio.gather(fetch(0.01), fetch(0.01))


async def on_task():
    await asyncio.create_task(fetch(0.01), name="tea")


async def on_task_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(fetch(0.01))


async def on_wait():
    await asyncio.wait([asyncio.create_task(fetch(0.01))])


async def on_wait_for():
    await asyncio.wait_for(asyncio.sleep(0.01), 5)


async def on_shield():
    await asyncio.shield(asyncio.create_task(fetch(0.01)))


async def on_as_completed():
    for first in asyncio.as_completed([fetch(0.01)]):
        await first


async def on_queue_get():
    queue = asyncio.Queue()
    asyncio.get_running_loop().call_later(0.01, queue.put_nowait, 1)
    await queue.get()


async def on_queue_put():
    queue = asyncio.Queue(1)
    queue.put_nowait(1)
    asyncio.get_running_loop().call_later(0.01, queue.get_nowait)
    await queue.put(2)


async def on_queue_join():
    queue = asyncio.Queue()
    queue.put_nowait(1)
    asyncio.get_running_loop().call_later(0.01, queue.task_done)
    await queue.join()


async def on_event():
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, event.set)
    await event.wait()


async def on_lock():
    lock = asyncio.Lock()
    await lock.acquire()
    asyncio.get_running_loop().call_later(0.01, lock.release)
    async with lock:
        pass


async def on_semaphore():
    semaphore = asyncio.Semaphore(0)
    asyncio.get_running_loop().call_later(0.01, semaphore.release)
    async with semaphore:
        pass


async def on_condition():
    condition = asyncio.Condition()

    async def notify():
        async with condition:
            condition.notify()

    asyncio.get_running_loop().call_later(0.01, asyncio.ensure_future, notify())
    async with condition:
        await condition.wait()


async def on_barrier():
    barrier = asyncio.Barrier(2)

    async def other():
        await asyncio.sleep(0.01)
        await barrier.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(other())
        async with barrier:
            pass


async def on_to_thread():
    await asyncio.to_thread(time.sleep, 0.01)


async def on_executor():
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.01)


async def on_future():
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, future.set_result, None)
    await future


async def on_stream():
    async def greet(reader, writer):
        await asyncio.sleep(0.01)
        writer.write(b"hello\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await reader.readline()
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def on_process():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (fetch, "sleep"),
        (on_gather, "gather"),
        (on_task, "task tea"),
        (on_task_group, "TaskGroup"),
        (on_wait, "wait"),
        (on_wait_for, {"wait_for", "sleep"}),  # 3.12 waits in the task itself
        (on_shield, {"future", "shield"}),
        (on_as_completed, "as_completed"),
        (on_queue_get, "Queue.get"),
        (on_queue_put, "Queue.put"),
        (on_queue_join, "Queue.join"),
        (on_event, "Event.wait"),
        (on_lock, "Lock.acquire"),
        (on_semaphore, "Semaphore.acquire"),
        (on_condition, "Condition.wait"),
        (on_barrier, "Barrier.wait"),
        (on_to_thread, "to_thread"),
        (on_executor, "future"),
        (on_future, "future"),
        (on_stream, "StreamReader.readline"),
        (on_process, "Process.wait"),
    ],
    ids=lambda x: x.__name__ if callable(x) else None,
)
def test_a_wait_names_what_it_is_for(program, reason):
    async def block():
        await asyncio.create_task(
            program(*([0.01] if program is fetch else [])), name="it"
        )

    seen = set(reasons(recording(block).lane("it")))
    assert seen & (reason if isinstance(reason, set) else {reason})
    assert "" not in seen


def test_a_wait_names_asyncios_function_below_the_programs_own_code():
    async def innermost():
        async with asyncio.timeout(5):
            await asyncio.sleep(0.01)

    async def outer():
        await innermost()

    async def program():
        await asyncio.create_task(outer())

    assert reasons(recording(program).lane("outer")) == ["sleep"]


# --- tasks: names, parents, outcomes


def test_two_tasks_of_one_coroutine_are_told_apart():
    async def program():
        await asyncio.gather(fetch(), fetch(), fetch())

    names = [x.name for x in recording(program).lanes]
    assert names == ["block", "fetch", "fetch (2)", "fetch (3)"]


def test_a_given_name_is_kept_and_asyncios_number_is_not():
    async def program():
        await asyncio.create_task(fetch(), name="tea")
        await asyncio.create_task(fetch(), name="Task-7")

    assert [x.name for x in recording(program).lanes] == ["block", "tea", "fetch"]


def test_a_name_given_late_is_the_name():
    async def program():
        early = asyncio.create_task(fetch())
        await asyncio.sleep(0)
        early.set_name("renamed")
        await early
        left = asyncio.create_task(fetch(1))
        await asyncio.sleep(0)
        left.set_name("left")

    assert [x.name for x in recording(program).lanes] == ["block", "renamed", "left"]


def test_a_method_is_named_with_its_class_and_a_partial_by_its_coroutine():
    class Shop:
        async def open(self):
            await asyncio.sleep(0)

    async def program():
        await asyncio.gather(Shop().open(), functools.partial(fetch, 0)())

    names = [x.name for x in recording(program).lanes]
    assert names == ["block", "Shop.open", "fetch"]


def test_each_task_names_who_started_it_and_stands_below():
    async def child():
        await asyncio.create_task(fetch(), name="grandchild")

    async def program():
        await asyncio.gather(child(), asyncio.create_task(fetch(), name="last"))

    timeline = recording(program)
    assert [(x.name, x.parent) for x in timeline.lanes] == [
        ("block", None),
        ("last", "block"),
        ("child", "block"),
        ("grandchild", "child"),
    ]


def test_a_task_group_and_wait_for_start_tasks_of_the_task_they_run_in():
    async def program():
        async with asyncio.TaskGroup() as group:
            group.create_task(fetch(), name="in group")

    assert recording(program).lane("in group").parent == "block"


def test_a_task_started_by_a_timer_has_no_parent():
    async def program():
        asyncio.get_running_loop().call_later(
            0.01, lambda: asyncio.ensure_future(fetch())
        )
        await asyncio.sleep(0.05)

    assert recording(program).lane("fetch").parent is None


def test_each_lane_says_how_its_task_ended():
    async def program():
        failed = asyncio.create_task(fail(), name="failed")
        cancelled = asyncio.create_task(fetch(9), name="cancelled")
        unborn = asyncio.create_task(fetch(9), name="unborn")
        unborn.cancel()
        await asyncio.gather(failed, unborn, return_exceptions=True)
        cancelled.cancel()
        await asyncio.gather(cancelled, fetch(), return_exceptions=True)
        asyncio.create_task(fetch(9), name="pending")  # noqa: RUF006

    timeline = recording(program)
    assert {x.name: x.outcome for x in timeline.lanes} == {
        "block": "ok",
        "failed": "LookupError",
        "cancelled": "cancelled",
        "unborn": "cancelled",
        "fetch": "ok",
        "pending": "pending",
    }
    assert timeline.left_over == ("pending",)
    assert timeline.order() == ["failed", "unborn", "fetch", "cancelled"] or (
        timeline.order() == ["failed", "unborn", "cancelled", "fetch"]
    )


def test_a_cancelled_sleeper_waits_no_longer_than_until_its_cancellation():
    async def program():
        sleeper = asyncio.create_task(fetch(9), name="sleeper")
        await asyncio.sleep(0.1)
        sleeper.cancel()
        await asyncio.wait([sleeper])

    sleeper = recording(program).lane("sleeper")
    assert states(sleeper)[-3:] == [WAIT, READY, RUN]
    assert reasons(sleeper, READY)[-1] == "block"
    assert sleeper.ended < 9


def test_exceptions_that_nobody_looked_at_are_named():
    async def program():
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        asyncio.create_task(fail(), name="dropped")  # noqa: RUF006
        kept.append(asyncio.create_task(fail(), name="kept"))
        seen = asyncio.create_task(fail(), name="seen")
        await asyncio.gather(seen, return_exceptions=True)
        gc.collect()

    kept = []
    timeline = recording(program)
    assert sorted(timeline.never_retrieved) == ["dropped", "kept"]
    assert kept.pop().exception()


def test_coroutines_never_awaited_are_named():
    async def program():
        fetch()
        await asyncio.sleep(0)

    with pytest.warns(RuntimeWarning, match="fetch.*never awaited"):
        timeline = recording(program)
    assert timeline.never_awaited == ("fetch",)


def test_a_finished_task_is_the_waker_of_who_awaited_it():
    async def program():
        await asyncio.create_task(fetch(0.01), name="tea")

    block = recording(program).lane("block")
    assert reasons(block, READY)[-1] == "tea"


def test_gather_is_woken_by_the_last_of_its_tasks():
    async def program():
        await asyncio.gather(
            asyncio.create_task(fetch(0), name="short"),
            asyncio.create_task(fetch(0.05), name="long"),
        )

    assert reasons(recording(program).lane("block"), READY)[-1] == "long"


# --- kinds of tasks


@pytest.mark.parametrize("kind", [asyncio.Task, tasks._PyTask])
def test_a_task_made_without_the_loop_gets_a_lane(kind):
    async def program():
        await kind(fetch(0.01), loop=asyncio.get_running_loop(), name="direct")

    lane = recording(program).lane("direct")
    assert states(lane)[-3:] == [WAIT, READY, RUN]
    assert lane.outcome == "ok"
    assert lane.coroutine == "fetch"


def test_python_tasks_are_recorded_as_the_c_ones_are():
    def factory(loop, coroutine, **options):
        return tasks._PyTask(coroutine, loop=loop, **options)

    async def program():
        asyncio.get_running_loop().set_task_factory(factory)
        event = asyncio.Event()
        waiter = asyncio.create_task(event.wait(), name="waiter")
        await asyncio.create_task(fetch(0.01), name="sleeper")
        event.set()
        await asyncio.gather(
            waiter, asyncio.create_task(fail()), return_exceptions=True
        )

    timeline = recording(program)
    assert states(timeline.lane("sleeper")) == [READY, RUN, WAIT, READY, RUN]
    assert reasons(timeline.lane("waiter")) == ["Event.wait"]
    assert timeline.lane("waiter").parent == "block"
    assert timeline.lane("fail").outcome == "LookupError"


def test_a_task_factory_is_called_as_without_and_its_tasks_have_parents():
    seen = []

    def factory(loop, coroutine, **options):
        seen.append(options)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def program():
        asyncio.get_running_loop().set_task_factory(factory)
        await asyncio.create_task(fetch(0.01))
        assert len(seen) == 1

    lane = recording(program).lane("fetch")
    assert lane.parent == "block"
    assert reasons(lane) == ["sleep"]


@eager
def test_an_eager_task_runs_inside_its_parents_step():
    async def child():
        time.sleep(0.1)
        await asyncio.sleep(0.01)

    async def program():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await asyncio.create_task(child())

    timeline = recording(program)
    lane = timeline.lane("child")
    assert states(lane) == [RUN, WAIT, READY, RUN]
    assert lane.parent == "block"
    assert timeline.lane("block").seconds(READY) >= 0.1


@eager
def test_an_eager_task_that_never_waits_has_a_lane_and_an_end():
    async def grandchild():
        return 1

    async def child():
        return await asyncio.create_task(grandchild())

    async def program():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        assert await asyncio.create_task(child()) == 1
        await asyncio.gather(fail(), return_exceptions=True)

    timeline = recording(program)
    assert timeline.lane("child").outcome == "ok"
    assert timeline.lane("grandchild").parent == "child"
    assert timeline.lane("fail").outcome == "LookupError"
    assert states(timeline.lane("grandchild")) == [RUN]


@eager
def test_who_is_woken_before_an_eager_task_starts_names_the_waker():
    async def program():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        event = asyncio.Event()
        waiter = asyncio.create_task(event.wait(), name="waiter")
        event.set()
        asyncio.create_task(asyncio.sleep(0, 1), name="eager")  # noqa: RUF006
        await waiter

    assert reasons(recording(program).lane("waiter"), READY) == ["block"]


# --- blocked loops


def test_a_step_over_50_ms_is_blocked_and_names_the_line():
    async def culprit():
        await asyncio.sleep(0)
        time.sleep(0.3)  # the culprit's line

    async def program():
        await asyncio.gather(culprit(), fetch(0.05))

    timeline = recording(program)
    (blocked,) = timeline.blocked
    assert blocked.lane == "culprit"
    assert 0.3 <= blocked.end - blocked.start < 0.3 + LATE
    assert "time.sleep(0.3)  # the culprit's line" in blocked.where
    assert "test_recorder.py, line " in blocked.where
    assert blocked.where in reasons(timeline.lane("culprit"), RUN)
    assert timeline.longest_step >= 0.3


def test_the_line_of_the_programs_own_code_is_named_not_the_librarys():
    async def program():
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.2)"])

    where = recording(program).blocked[0].where
    assert where.startswith("subprocess.run(")


def test_a_plain_callback_that_blocks_is_named_by_its_line():
    async def program():
        asyncio.get_running_loop().call_soon(time.sleep, 0.2)
        asyncio.get_running_loop().call_soon(lambda: time.sleep(0.2))
        await asyncio.sleep(0.05)

    timeline = recording(program)
    assert [x.lane for x in timeline.blocked if x.where] == [""]
    assert "lambda: time.sleep(0.2)" in timeline.blocked[-1].where


def test_a_step_that_blocks_when_the_recording_ends_is_told():
    async def program():
        time.sleep(0.2)

    (blocked,) = recording(program).blocked
    assert blocked.lane == "block"
    assert "time.sleep(0.2)" in blocked.where


def test_the_blocks_first_step_is_blocked_too_if_it_awaits_afterwards():
    async def program():
        time.sleep(0.2)
        await asyncio.sleep(0)

    (blocked,) = recording(program).blocked
    assert blocked.lane == "block"
    assert "time.sleep(0.2)" in blocked.where


def test_steps_under_50_ms_block_nobody():
    async def program():
        for _ in range(3):
            time.sleep(0.005)
            await asyncio.sleep(0)

    assert recording(program).blocked == ()


# --- spans


def test_a_span_shows_what_its_task_did_meanwhile():
    async def cook():
        with span("toast"):
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.05)

    async def program():
        await asyncio.create_task(cook())

    toast = recording(program).lane("toast")
    assert toast.parent == "cook"
    assert toast.kind == "span"
    assert states(toast) == [RUN, WAIT, READY, RUN]
    assert toast.outcome == "ok"


def test_spans_of_one_name_are_told_apart_and_one_may_be_entered_twice():
    def work():
        kept = span("toast")
        for _ in range(2):
            with kept:
                time.sleep(0.001)

    with record() as timeline:
        work()
    assert [x.name for x in timeline.lanes] == ["toast", "toast (2)"]
    assert all(states(x) == [RUN] for x in timeline.lanes)


def test_where_no_loop_runs_spans_are_kept():
    with record() as timeline:
        with span("one"):
            time.sleep(0.1)
        with contextlib.suppress(KeyError), span("two"):
            raise KeyError
    assert flaws(timeline) == []
    assert [(x.name, x.outcome) for x in timeline.lanes] == [
        ("one", "ok"),
        ("two", "KeyError"),
    ]
    assert timeline.loops == ()
    assert timeline.elapsed >= 0.1


def test_a_span_in_another_thread_counts_as_running():
    def work():
        with span("in a thread"):
            time.sleep(0.1)

    async def program():
        await asyncio.to_thread(work)

    lane = recording(program).lane("in a thread")
    assert (lane.parent, states(lane)) == (None, [RUN])
    assert lane.ended - lane.born >= 0.1


def test_a_span_still_open_at_the_end_is_pending_even_if_asked_later():
    stack = ExitStack()
    with stack, record() as timeline:
        stack.enter_context(span("open"))
        time.sleep(0.01)
    assert timeline.lane("open").outcome == "pending"
    assert timeline.lane("open").ended == timeline.elapsed


def test_a_span_where_nobody_records_is_nothing():
    with span("alone"):
        pass


@pytest.mark.parametrize("name", [3, None, b"toast"])
def test_a_span_without_a_name_says_what_it_needs(name):
    with pytest.raises(TypeError, match=r"span\('toast'\); got " + repr(name)):
        span(name)


# --- recordings within, beside and across


def test_recordings_nest_and_each_is_whole():
    async def program():
        with record() as outer:
            first = asyncio.create_task(fetch(0.5), name="first")
            await asyncio.sleep(0)
            with record() as inner:
                await asyncio.create_task(fetch(0.01), name="second")
            await first
        return outer, inner

    outer, inner = asyncio.run(program())
    assert flaws(outer) == flaws(inner) == []
    assert [x.name for x in outer.lanes] == ["program", "first", "second"]
    assert [x.name for x in inner.lanes] == ["program", "first", "second"]
    assert inner.lane("first").kind == "before"
    assert inner.lane("first").outcome == "pending"
    assert outer.lane("first").outcome == "ok"
    assert outer.lane("second").outcome == inner.lane("second").outcome == "ok"
    assert inner.elapsed < outer.elapsed


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_recordings_may_end_in_any_order(order):
    async def program():
        made = [record() for _ in range(3)]
        timelines = [x.__enter__() for x in made]
        for number in order:
            await asyncio.create_task(fetch(0), name=f"before end {number}")
            made[number].__exit__(None, None, None)
        return timelines

    timelines = asyncio.run(program())
    for place, number in enumerate(order):
        assert flaws(timelines[number]) == []
        names = [x.name for x in timelines[number].lanes]
        assert names == ["program", *[f"before end {x}" for x in order[: place + 1]]]


def test_two_loops_in_two_threads_record_independently():
    def work(name):
        async def program():
            with record() as timeline:
                barrier.wait(5)
                for _ in range(3):
                    await asyncio.create_task(fetch(0.01), name=name)
                barrier.wait(5)
                print(name)
            return timeline

        timelines[name] = asyncio.run(program())

    timelines, barrier = {}, threading.Barrier(2)
    threads = [threading.Thread(target=work, args=(x,)) for x in ("tea", "toast")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, timeline in timelines.items():
        assert flaws(timeline) == []
        names = [x.name for x in timeline.lanes]
        assert names == ["program", name, f"{name} (2)", f"{name} (3)"]
        assert [x.text for x in timeline.printed] == [name]


def test_a_loop_in_another_thread_stays_out():
    async def program():
        await asyncio.to_thread(asyncio.run, fetch(0.01))

    assert [x.name for x in recording(program).lanes] == ["block"]


def test_a_loop_that_starts_inside_the_block_is_watched():
    async def main():
        await asyncio.gather(fetch(0.01), fetch(0.01))
        return "done"

    with record() as timeline:
        assert asyncio.run(main()) == "done"
    assert flaws(timeline) == []
    assert [(x.name, x.parent) for x in timeline.lanes] == [
        ("main", None),
        ("fetch", "main"),
        ("fetch (2)", "main"),
    ]
    assert timeline.lane("main").outcome == "ok"


def test_two_loops_that_start_inside_the_block_are_both_watched():
    with record() as timeline:
        asyncio.run(fetch(0.01))
        asyncio.run(fetch(0.01))
    assert flaws(timeline) == []
    assert [x.name for x in timeline.lanes] == ["fetch", "fetch (2)"]
    assert [x.name for x in timeline.loops] == ["event loop", "event loop (2)"]


def test_a_recording_takes_in_the_tasks_that_are_there():
    async def program():
        lock = asyncio.Lock()
        await lock.acquire()
        parked = asyncio.create_task(lock.acquire(), name="parked")
        asleep = asyncio.create_task(fetch(0.3), name="asleep")
        await asyncio.sleep(0)
        fresh = asyncio.create_task(fetch(0), name="fresh")
        with record() as timeline:
            await asyncio.gather(asleep, fresh)
            lock.release()
            await parked
        return timeline

    timeline = asyncio.run(program())
    assert flaws(timeline) == []
    assert {x.name: x.kind for x in timeline.lanes} == {
        "program": "block",
        "parked": "before",
        "asleep": "before",
        "fresh": "before",
    }
    assert states(timeline.lane("parked")) == [WAIT, READY, RUN]
    assert reasons(timeline.lane("parked")) == ["Lock.acquire"]
    assert reasons(timeline.lane("parked"), READY) == ["program"]
    assert states(timeline.lane("asleep")) == [WAIT, READY, RUN]
    assert states(timeline.lane("fresh"))[:2] == [READY, RUN]


def test_the_step_under_way_when_a_recording_starts_is_taken_in():
    async def program():
        with record() as timeline:
            time.sleep(0.1)
            await asyncio.sleep(0.1)
            time.sleep(0.1)
        return timeline

    (block,) = asyncio.run(program()).lanes
    assert states(block) == [RUN, WAIT, READY, RUN]
    assert block.intervals[0].end - block.intervals[0].start >= 0.1
    assert block.intervals[-1].end - block.intervals[-1].start >= 0.1


def test_a_recording_that_starts_in_a_plain_callback_is_whole():
    async def program():
        def begin():
            entered.append(record())
            timelines.append(entered[0].__enter__())

        asyncio.get_running_loop().call_soon(begin)
        await asyncio.create_task(fetch(0.01))
        entered[0].__exit__(None, None, None)

    entered, timelines = [], []
    asyncio.run(program())
    assert flaws(timelines[0]) == []
    assert {x.name for x in timelines[0].lanes} == {"program", "fetch"}


def test_a_recording_that_ends_in_another_task_is_whole():
    async def program():
        with ExitStack() as stack:
            timeline = stack.enter_context(record())
            rest = stack.pop_all()

            async def end():
                await asyncio.sleep(0.01)
                rest.close()

            await asyncio.create_task(end())
        return timeline

    timeline = asyncio.run(program())
    assert flaws(timeline) == []
    assert {x.name: x.outcome for x in timeline.lanes} == {
        "program": "ok",
        "end": "pending",
    }


def test_a_recording_object_serves_again_but_not_within_itself():
    async def program():
        kept = record()
        with kept as first:
            await asyncio.create_task(fetch(), name="one")
            with pytest.raises(RuntimeError, match="call record\\(\\) once"), kept:
                pass
        with kept as second:
            await asyncio.create_task(fetch(), name="two")
        return first, second

    first, second = asyncio.run(program())
    assert [x.name for x in first.lanes] == ["program", "one"]
    assert [x.name for x in second.lanes] == ["program", "two"]


def test_a_loop_run_within_a_step_is_recorded_as_nest_asyncio_does_it():
    source = """
import asyncio, nest_asyncio, time
from invariants import flaws
from lessons_support import record
nest_asyncio.apply()
async def inner():
    await asyncio.sleep(0.01)
    return 7
async def outer():
    await asyncio.sleep(0)
    return asyncio.run(inner())
async def main():
    with record() as timeline:
        print(await asyncio.create_task(outer()), asyncio.run(inner()))
    print(flaws(timeline), sorted((x.name, x.outcome) for x in timeline.lanes))
asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        check=True,
        cwd=__file__.rpartition("/")[0],
    )
    names = [("inner", "ok"), ("inner (2)", "ok"), ("main", "ok"), ("outer", "ok")]
    assert ran.stdout == f"7 7\n[] {names}\n"


# --- what goes wrong inside the block


def test_an_exception_inside_the_block_leaves_a_complete_timeline():
    async def program():
        await asyncio.create_task(fetch(0.01))
        raise LookupError("inside")

    kept = []

    async def block():
        with record() as timeline:
            kept.append(timeline)
            await program()

    with pytest.raises(LookupError, match="inside"):
        asyncio.run(block())
    assert flaws(kept[0]) == []
    assert {x.name: x.outcome for x in kept[0].lanes} == {
        "block": "LookupError",
        "fetch": "ok",
    }


def test_a_cancellation_inside_the_block_leaves_a_complete_timeline():
    async def block():
        with record() as timeline:
            kept.append(timeline)
            await asyncio.sleep(9)

    async def program():
        task = asyncio.create_task(block())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    kept = []
    assert asyncio.run(program())
    assert flaws(kept[0]) == []
    assert kept[0].lane("block").outcome == "cancelled"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["block", "task", "callback"])
def test_an_interrupt_leaves_a_complete_timeline_and_a_clean_loop(error, where):
    def interrupt():
        raise error

    async def interrupted():
        interrupt()

    async def block():
        with record() as timeline:
            kept.extend((timeline, asyncio.get_running_loop()))
            if where == "block":
                interrupt()
            if where == "callback":
                asyncio.get_running_loop().call_soon(interrupt)
            if where == "task":
                asyncio.get_running_loop().create_task(interrupted())
            await asyncio.sleep(1)

    kept = []
    with pytest.raises(error) as caught:
        asyncio.run(block())
    timeline, loop = kept
    assert flaws(timeline) == []
    assert timeline.lane("block").outcome in (error.__name__, "cancelled")
    assert not {"_call_soon", "create_task"} & vars(loop).keys()
    assert "watch.py" not in {x.path.name for x in caught.traceback}


def test_a_real_ctrl_c_inside_the_block_leaves_a_complete_timeline():
    source = """
import asyncio, signal
from invariants import flaws
from lessons_support import record
async def main():
    with record() as timeline:
        kept.append(timeline)
        asyncio.get_running_loop().call_later(0.1, signal.raise_signal, signal.SIGINT)
        await asyncio.sleep(9)
kept = []
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flaws(kept[0]), kept[0].lanes[0].outcome)
"""
    ran = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        check=True,
        cwd=__file__.rpartition("/")[0],
    )
    assert ran.stdout == "interrupted [] cancelled\n"


def test_a_foreign_loop_gets_a_clear_error_and_nothing_is_installed():
    class Loop(asyncio.AbstractEventLoop):
        """As little of a loop as uvloop's is one of asyncio's."""

        def get_debug(self):
            return False

    asyncio._set_running_loop(Loop())
    before = installed()
    try:
        with pytest.raises(TypeError, match=r"asyncio's own .* test_recorder\.Loop"):
            record().__enter__()
        assert installed() == before
    finally:
        asyncio._set_running_loop(None)


def test_questions_to_a_running_timeline_say_when_to_ask():
    with record() as timeline:
        for question in ("lanes", "elapsed", "findings", "blocked", "loops"):
            with pytest.raises(
                RuntimeError, match=r"after the `with record\(\)` block"
            ):
                getattr(timeline, question)
        assert repr(timeline) == "<Timeline: still recording>"


def test_questions_about_unknown_tasks_answer_no():
    timeline = recording(fetch)
    assert timeline.lane("nobody") is None
    assert timeline.overlap("nobody", "block") == 0.0
    assert "nobody" not in timeline.order()


def test_record_takes_no_arguments():
    with pytest.raises(TypeError):
        record("everything")


# --- nothing is changed, nothing is kept


def own(loop) -> dict:
    return dict(vars(loop))


def test_the_loop_is_left_as_it_was_found():
    async def program():
        loop = asyncio.get_running_loop()
        before = own(loop).keys()
        with record():
            await asyncio.create_task(fetch(0.01))
            assert own(loop).keys() - before
        return before, own(loop).keys()

    before, after = asyncio.run(program())
    assert before == after
    assert list(before) == list(after)


def test_a_loops_own_create_task_is_called_and_put_back():
    class Loop(asyncio.SelectorEventLoop):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.create_task = self.counted
            self.call_exception_handler = super().call_exception_handler

        def counted(self, *args, **options):
            self.calls += 1
            return super().create_task(*args, **options)

    async def block():
        loop = asyncio.get_running_loop()
        before, calls = own(loop), loop.calls
        with record() as timeline:
            await asyncio.create_task(fetch())
        after = own(loop)
        assert after["calls"] == calls + 1
        names = {"create_task", "call_exception_handler", "_call_soon"}
        assert {x: before.get(x) for x in names} == {x: after.get(x) for x in names}
        return timeline

    with asyncio.Runner(loop_factory=Loop) as runner:
        timeline = runner.run(block())
    assert [x.name for x in timeline.lanes] == ["block", "fetch"]


def test_a_loop_subclass_is_recorded():
    class Loop(asyncio.SelectorEventLoop):
        def create_task(self, coro, **options):
            return super().create_task(coro, **options)

    async def program():
        await asyncio.create_task(fetch(0.01))

    timeline = recording(program, loop_factory=Loop)
    assert reasons(timeline.lane("fetch")) == ["sleep"]


def patched(monkeypatch, calls):
    """Someone else's wrapper around whatever `Handle._run` is now."""
    found = events.Handle._run

    def theirs(self):
        calls.append(1)
        return found(self)

    monkeypatch.setattr(events.Handle, "_run", theirs)
    return theirs


def test_a_patch_of_handle_run_from_before_goes_on_working(monkeypatch):
    calls = []
    theirs = patched(monkeypatch, calls)
    timeline = recording(fetch, 0.01)
    assert timeline.lane("block").seconds(WAIT) > 0
    assert len(calls) > 3
    assert events.Handle._run is theirs
    monkeypatch.undo()


def test_a_patch_of_handle_run_from_inside_is_left_in_place(monkeypatch):
    calls = []

    async def program():
        patched(monkeypatch, calls)
        await asyncio.create_task(fetch(0.01))

    first = recording(program)
    assert first.lane("fetch").outcome == "ok"
    wrapped, before = events.Handle._run, len(calls)
    again = recording(fetch, 0.01)  # our function below theirs serves again
    assert events.Handle._run is wrapped
    assert len(calls) > before
    assert states(again.lane("block")) == [RUN, WAIT, READY, RUN]
    monkeypatch.undo()
    # As found before both, so that the next recording takes its place anew.
    events.Handle._run = watch_module.POST.found
    watch_module.POST.ours = None


def test_a_wrapper_around_our_create_task_that_stays_costs_no_memory():
    async def program():
        loop = asyncio.get_running_loop()
        with record() as timeline:
            hooked = loop.create_task
            loop.create_task = lambda *args, **options: hooked(*args, **options)
            await asyncio.create_task(fetch())
            log = watch_module.WATCHES[loop].log
        lives = len(log.lives)
        await asyncio.gather(*[fetch() for _ in range(10)])
        with record() as later:
            await asyncio.create_task(fetch())
        return timeline, later, lives, len(log.lives)

    timeline, later, before, after = asyncio.run(program())
    assert before == after
    assert [x.name for x in timeline.lanes] == ["program", "fetch"]
    assert [x.name for x in later.lanes] == ["program", "fetch"]


def test_the_replaced_create_task_looks_like_asyncios():
    async def program():
        loop = asyncio.get_running_loop()
        with record():
            create_task = loop.create_task
            assert create_task.__name__ == "create_task"
            coroutine = fetch()
            await create_task(coro=coroutine, name="by keyword")
            with pytest.raises(
                TypeError, match="a coroutine was expected, got 3"
            ) as it:
                create_task(3)
            return [x.path.name for x in it.traceback]

    assert "watch.py" not in asyncio.run(program())


def test_debug_mode_names_the_same_line_as_without():
    async def program():
        loop = asyncio.get_running_loop()
        handle = loop.call_soon(print)
        handle.cancel()
        task = asyncio.create_task(fetch())
        await task
        lasts = handle._source_traceback[-1], task._source_traceback[-1]
        return [(x.filename, x.name) for x in lasts]

    async def block():
        with record():
            return await program()

    bare = asyncio.run(program(), debug=True)
    assert asyncio.run(block(), debug=True) == bare
    assert bare[0] == (__file__, "program")


class Weak:
    """Something to keep a weak reference to."""


def test_no_task_result_exception_or_callback_is_kept_by_a_timeline():
    class Failed(Exception):
        pass

    async def give():
        result = Weak()
        refs["result"] = weakref.ref(result)
        await asyncio.sleep(0)
        return result

    async def crash():
        error = Failed()
        refs["error"] = weakref.ref(error)
        try:
            raise error
        finally:
            del error

    def callback(kept):
        refs["argument"] = weakref.ref(kept)

    async def block():
        with record() as timeline:
            loop = asyncio.get_running_loop()
            given = asyncio.create_task(give())
            failed = asyncio.create_task(crash())
            future = loop.create_future()
            loop.call_soon(callback, Weak())
            refs.update(
                {
                    "loop": weakref.ref(loop),
                    "given": weakref.ref(given),
                    "failed": weakref.ref(failed),
                    "coroutine": weakref.ref(given.get_coro()),
                    "future": weakref.ref(future),
                }
            )
            await asyncio.gather(given, failed, return_exceptions=True)
            del given, failed, future
            await asyncio.sleep(0)
            gc.collect()
            alive = {x for x, seen in refs.items() if seen() is not None}
            assert alive == {"loop"}
        return timeline

    refs = {}
    timeline = asyncio.run(block())
    gc.collect()
    assert [x for x, seen in refs.items() if seen() is not None] == []
    assert timeline.lanes
    assert not any(
        isinstance(x, asyncio.Future | asyncio.AbstractEventLoop | BaseException)
        for x in everything_below(timeline)
    )


def everything_below(thing) -> list[object]:
    """All objects that one keeps alive, but for modules and what is in classes."""
    found, todo = {}, [thing]
    while todo:
        one = todo.pop()
        if id(one) in found or isinstance(one, type | type(sys)):
            continue
        found[id(one)] = one
        if callable(one) and hasattr(one, "__closure__"):
            todo += [x.cell_contents for x in one.__closure__ or ()]
        else:
            todo += gc.get_referents(one)
    return list(found.values())


def test_a_result_dies_when_it_would_without():
    async def give():
        kept = Weak()
        refs.append(weakref.ref(kept))
        return kept

    async def block():
        gc.disable()
        try:
            with record():
                await asyncio.gather(give(), give())
                await asyncio.sleep(0)
                return [x() for x in refs]
        finally:
            gc.enable()

    refs = []
    assert asyncio.run(block()) == [None, None]


def test_no_thread_is_left_and_none_is_counted():
    async def program():
        assert threading.active_count() == before

    before = threading.active_count()
    recording(program)
    assert threading.active_count() == before


def test_what_is_printed_is_noted_by_line_task_and_time_and_still_printed(capsys):
    async def say(word):
        print(word, "and", end=" ")
        await asyncio.sleep(0)
        print("so on")

    async def program():
        print("one", "two")
        await asyncio.create_task(say("tea"))
        sys.stdout.write("no newline")

    timeline = recording(program)
    assert [(x.lane, x.text) for x in timeline.printed] == [
        ("block", "one two"),
        ("say", "tea and so on"),
        ("block", "no newline"),
    ]
    assert all(0 <= x.at <= timeline.elapsed for x in timeline.printed)
    assert capsys.readouterr().out == "one two\ntea and so on\nno newline"


def test_stdout_redirected_inside_goes_where_it_was_sent():
    async def program():
        with contextlib.redirect_stdout(io.StringIO()) as stream:
            print("hidden")
        print("shown")
        return stream.getvalue()

    async def block():
        with record() as timeline:
            hidden = await program()
        return hidden, timeline

    hidden, timeline = asyncio.run(block())
    assert hidden == "hidden\n"
    assert [x.text for x in timeline.printed] == ["shown"]


class Bare:
    """A stream that takes no attributes."""

    __slots__ = ("text",)

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize("stream", [Bare(), None])
def test_a_stdout_without_attributes_is_left_alone(stream):
    async def program():
        print("hello")

    with contextlib.redirect_stdout(stream):
        timeline = recording(program)
    assert timeline.printed == ()
    assert stream is None or stream.text == "hello\n"


def test_a_wrong_write_raises_as_without_and_spoils_no_timeline():
    with record() as timeline:
        with pytest.raises(TypeError) as caught:
            sys.stdout.write(3)
        print("after")
    assert [x.text for x in timeline.printed] == ["after"]
    assert "recorder.py" not in {x.path.name for x in caught.traceback}


def test_warnings_of_unawaited_coroutines_blame_the_same_line():
    async def program():
        fetch()
        await asyncio.sleep(0)

    async def block():
        with record():
            await program()

    told = []
    for main in (program, block):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            asyncio.run(main())
        told.append(
            [(x.category, str(x.message), x.filename, x.lineno) for x in caught]
        )
    assert told[0] == told[1]
    assert told[0][0][2] == __file__


def test_unhandled_exceptions_reach_the_handler_as_without():
    async def program():
        loop = asyncio.get_running_loop()
        told = []
        loop.set_exception_handler(lambda _, context: told.append(context["message"]))
        asyncio.create_task(fail())  # noqa: RUF006
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.01)
        gc.collect()
        return [x.partition("(")[0] for x in told]

    async def block():
        with record():
            return await program()

    bare = asyncio.run(program())
    assert asyncio.run(block()) == bare
    assert len(bare) == 2


# --- notebooks


def test_in_a_notebook_the_kernels_tasks_stay_out_and_the_cell_is_shown():
    source = """
import asyncio, types, sys
import ipykernel
from lessons_support import record
kernel = types.ModuleType("ipykernel.kernelbase")
exec('''
import asyncio
async def dispatch(): await asyncio.sleep(0.01)
async def shell_main(run):
    asyncio.create_task(dispatch())
    await run()
''', vars(kernel))
async def fetch(): await asyncio.sleep(0.02)
async def cell():
    with record() as timeline:
        asyncio.create_task(kernel.dispatch())
        await asyncio.gather(fetch(), asyncio.sleep(0.01))
    print([(x.name, x.parent) for x in timeline.lanes])
asyncio.run(kernel.shell_main(cell))
"""
    ran = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    names = [("cell", None), ("fetch", "cell"), ("sleep", "cell")]
    assert ran.stdout == f"{names}\n"


# --- the trace file, and what it costs to be there


def test_a_saved_trace_is_valid(tmp_path):
    async def program():
        await asyncio.gather(fetch(0.01), fetch(0))

    timeline = recording(program)
    timeline.save_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [x for x in trace if x["ph"] == "X"]
    lanes = (*timeline.loops, *timeline.lanes)
    assert len(spans) == sum(len(x.intervals) for x in lanes)
    assert {x["ph"] for x in trace} == {"M", "X"}
    for one in trace:
        assert isinstance(one["pid"], int)
        assert isinstance(one["tid"], int)
        assert one["name"]
    for one in spans:
        assert 0 <= one["ts"] <= timeline.elapsed * 1e6
        assert 0 < one["dur"] <= timeline.elapsed * 1e6
    named = [x["args"]["name"] for x in trace if x["name"] == "thread_name"]
    assert named[:2] == ["event loop (ok)", "block (ok)"]


def seconds_to_import(module) -> float:
    source = (
        "import time; start = time.process_time(); import asyncio; "
        f"import {module}; print(time.process_time() - start)"
    )
    return float(subprocess.check_output([sys.executable, "-c", source]))


def test_importing_the_recorder_brings_little_beside_asyncio():
    modules = "lessons_support.recorder", "asyncio"
    tries = [map(seconds_to_import, modules) for _ in range(10)]
    with_asyncio, alone = map(min, zip(*tries, strict=True))
    assert with_asyncio < 2.5 * alone  # about 1.7 times; matplotlib makes it 6


def test_an_interval_of_a_read_timeline_takes_at_most_130_bytes():
    import tracemalloc

    async def switch():
        for _ in range(100):
            await asyncio.sleep(0)

    async def block():
        with record() as timeline:
            await asyncio.gather(*[switch() for _ in range(50)])
        kept.append(timeline)

    kept = []
    tracemalloc.start()
    try:
        asyncio.run(block())
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        notes = tracemalloc.take_snapshot().filter_traces(
            [tracemalloc.Filter(True, "*/lessons_support/*")]
        )
        number = sum(len(x.intervals) for x in kept[0].lanes)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    held = sum(x.size for x in notes.statistics("filename"))
    assert number > 10_000
    assert held / number < 130
    assert (held + after - before) / number < 130


def test_an_interval_is_plain_data():
    assert Interval(RUN, 0.0, 1.0) == ("run", 0.0, 1.0, "")


# --- names, generators, and who is in flight


def test_a_task_may_be_given_a_name_that_is_made_for_another():
    async def patient(n):
        await asyncio.gather(fetch(0.01 * n))

    async def program():
        names = ["fetch (1)", "fetch (2)", "fetch", "patient", "patient (2)"]
        with record() as timeline:
            async with asyncio.TaskGroup() as group:
                for n, name in enumerate(names):
                    group.create_task(patient(n), name=name)
        return timeline

    timeline = asyncio.run(program())
    assert flaws(timeline) == []
    assert len({x.name for x in timeline.lanes}) == len(timeline.lanes) == 11
    assert len(set(timeline.order())) == len(timeline.order()) == 10


async def two_with_a_limit():
    waits = (asyncio.wait_for(asyncio.sleep(1), 5) for _ in "ab")
    await asyncio.gather(*waits)


async def one_in_a_shield():
    await asyncio.shield(asyncio.create_task(asyncio.sleep(1)))


async def one_for_whom_two_wait():
    door, opened = asyncio.Condition(), []

    async def guest():
        async with door:
            await door.wait_for(lambda: opened)

    async def host():
        await asyncio.sleep(1)
        opened.append(True)
        async with door:
            door.notify_all()

    await asyncio.gather(guest(), guest(), host())


async def one_by_whom_two_generators_are_fed():
    queue = asyncio.Queue()

    async def items():
        while (item := await queue.get()) is not None:
            yield item

    async def consume():
        return [item async for item in items()]

    async def produce():
        await asyncio.sleep(1)
        for _ in "ab":
            queue.put_nowait(None)

    await asyncio.gather(consume(), consume(), produce())


@pytest.mark.parametrize(
    ("program", "most"),
    [
        (two_with_a_limit, 2),
        (one_in_a_shield, 1),
        (one_for_whom_two_wait, 1),
        (one_by_whom_two_generators_are_fed, 1),
    ],
)
def test_who_waits_for_others_is_not_in_flight(program, most):
    assert rehearse(program).most_in_flight == most


def test_a_generator_that_the_loop_closes_is_nobodys_task():
    async def pages():
        try:
            yield "a"
        finally:
            await asyncio.sleep(1)

    async def first():
        async for page in pages():
            if page:
                break
        return page

    assert rehearse(first).findings == ()
    assert [x.name for x in rehearse(first).lanes] == ["first"]
