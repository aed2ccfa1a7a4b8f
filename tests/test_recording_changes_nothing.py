"""Random programs do, recorded, exactly what they do bare.

A program is a tree of steps, performed twice on a loop whose clock jumps over waits, so
that its order depends on nothing else. Everything it can show is compared: its log (in
which every object notes its death), result, exception and traceback, warnings, and what
the loop's exception handler is told.
"""

from __future__ import annotations

import asyncio
import gc
import re
import selectors
import sys
import traceback
import warnings
import weakref
from asyncio import tasks
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from invariants import flaws

from lessons_support import record
from lessons_support.timeline import Timeline

NUMBERED = re.compile(r"0x[0-9a-f]+|Task-\d+")
"""What differs from run to run: addresses, and asyncio's numbers of tasks."""


class Deadlock(Exception):
    """Nothing is left that could wake a task."""


class Jump(selectors.DefaultSelector):
    """A selector that does not wait: it puts the loop's clock forward instead."""

    now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout is None:
            raise Deadlock
        if not ready:
            self.now += timeout
        return ready


class Numbered:
    """A task that sets hold by its number: else its address would decide on order."""

    def __new__(cls, *_, loop, **__):
        self = super().__new__(cls)
        self.number = next(loop.numbers)
        return self

    def __hash__(self):
        return self.number


class Task(Numbered, asyncio.Task):
    """asyncio's own task, with a number."""


class PythonTask(Numbered, tasks._PyTask):
    """asyncio's task in Python, with a number."""


class Loop(asyncio.SelectorEventLoop):
    """A loop whose time is that of its timers."""

    def __init__(self):
        self.jump, self.numbers = Jump(), count()
        super().__init__(self.jump)

    def time(self):
        return self.jump.now

    def create_task(self, coro, **options):
        if self._task_factory is not None:
            return super().create_task(coro, **options)
        return Task(coro, loop=self, **options)


class Token:
    """An object that notes its own death."""

    def __init__(self, world, number):
        self.log, self.number = world.log, number

    def __del__(self):
        self.log.append(("died", self.number))

    def __repr__(self):
        return f"Token({self.number})"


class Refusal(Exception):
    """What a program raises."""


@dataclass
class World:
    """What the steps of one program share, and what they show."""

    record: Any
    loop: Loop
    numbers: Any = field(default_factory=count)
    log: list = field(default_factory=list)
    started: list = field(default_factory=list)
    watched: list = field(default_factory=list)
    complaints: list = field(default_factory=list)
    outcomes: dict = field(default_factory=dict)
    timelines: list = field(default_factory=list)
    open: list = field(default_factory=list)

    def __post_init__(self):
        self.locks = [asyncio.Lock(), asyncio.Lock()]
        self.semaphore = asyncio.Semaphore(2)
        self.queue = asyncio.Queue(1)
        self.event = asyncio.Event()
        self.condition = asyncio.Condition()

    def note(self, *what):
        self.log.append((*what, self.loop.time()))

    def start(self, step):
        """Start a task with a name of its own, and note when it dies."""
        number = next(self.numbers)
        task = asyncio.create_task(perform(self, step), name=f"task {number}")
        died = ("task died", number)
        self.watched.append(weakref.ref(task, lambda _: self.log.append(died)))
        return task

    def complain(self, _, context):
        error = context.get("exception")
        self.complaints.append((context["message"], sorted(context), told(error)))


def in_order(some):
    """Tasks by their numbers; where a set keeps them depends on its past."""
    return sorted(some, key=lambda x: x.number)


def told(error):
    """An exception with its traceback, in what is equal from run to run."""
    if error is None:
        return None
    frames = [(x.name, x.lineno) for x in traceback.extract_tb(error.__traceback__)]
    inside = [told(x) for x in getattr(error, "exceptions", ())]
    context = type(error.__context__).__name__
    return type(error).__name__, plain(error.args), frames, inside, context


def plain(thing):
    return NUMBERED.sub("", repr(thing))


async def perform(world, step):
    """Do one step of a program; the other steps are its parts."""
    kind, *rest = step
    number = len(world.log)
    world.note(kind, asyncio.current_task().get_name().startswith("task "))
    token = Token(world, number)
    try:
        async with asyncio.timeout(0.2) if kind in ENDLESS else nullcontext():
            result = await DOING[kind](world, *rest)
        world.note("did", number, plain(result))
        return result, token
    except asyncio.CancelledError:
        world.note("cancelled", number)
        raise
    finally:
        world.note("left", number)


DOING = {}
ENDLESS = {"put", "get", "wait_event", "notify", "wait_condition", "lock", "semaphore"}
"""What might wait for ever, and so has a limit."""


def doing(function):
    DOING[function.__name__] = function
    return function


@doing
async def sleep(world, seconds):
    await asyncio.sleep(seconds)


@doing
async def refuse(world):
    raise Refusal(Token(world, -1))


@doing
async def exhaust(world):
    raise asyncio.CancelledError("by hand")


@doing
async def in_turn(world, *steps):
    return [await perform(world, step) for step in steps]


@doing
async def gather(world, keep, *steps):
    waiting = [perform(world, step) for step in steps]
    return await asyncio.gather(*waiting, return_exceptions=keep)


@doing
async def group(world, *steps):
    async with asyncio.TaskGroup() as group:
        return [group.create_task(perform(world, step)) for step in steps]


@doing
async def as_completed(world, *steps):
    waiting = [world.start(step) for step in steps]
    return [await first for first in asyncio.as_completed(waiting)]


@doing
async def wait(world, when, *steps):
    done, pending = await asyncio.wait(
        [world.start(step) for step in steps], timeout=0.03, return_when=when
    )
    return len(done), len(pending)


@doing
async def timeout(world, seconds, step):
    async with asyncio.timeout(seconds):
        return await perform(world, step)


@doing
async def wait_for(world, seconds, step):
    return await asyncio.wait_for(perform(world, step), seconds)


@doing
async def shield(world, step):
    return await asyncio.shield(world.start(step))


@doing
async def forgive(world, step):
    try:
        return await perform(world, step)
    except Exception as error:
        world.note("forgave", told(error))


@doing
async def forgive_all(world, step):
    with suppress(asyncio.CancelledError, Exception):
        return await perform(world, step)


@doing
async def at_last(world, step, cleanup):
    try:
        return await perform(world, step)
    finally:
        await perform(world, cleanup)


@doing
async def lock(world, number, step):
    async with world.locks[number]:
        return await perform(world, step)


@doing
async def semaphore(world, step):
    async with world.semaphore:
        return await perform(world, step)


@doing
async def put(world):
    await world.queue.put(Token(world, -2))


@doing
async def get(world):
    return await world.queue.get()


@doing
async def set_event(world):
    world.event.set()


@doing
async def wait_event(world):
    return await world.event.wait()


@doing
async def notify(world):
    async with world.condition:
        world.condition.notify()


@doing
async def wait_condition(world):
    async with world.condition:
        await world.condition.wait()


@doing
async def start(world, step):
    world.started.append(world.start(step))


@doing
async def drop(world, step):
    world.start(step)


@doing
async def start_directly(world, step):
    coroutine = perform(world, step)
    world.started.append(
        Task(coroutine, loop=asyncio.get_running_loop(), name="task direct")
    )


@doing
async def join(world, which):
    if world.started:
        task = world.started[which % len(world.started)]
        await asyncio.wait([task], timeout=0.03)
        return finished(task)
    return None


@doing
async def cancel(world, which):
    if world.started:
        return world.started[which % len(world.started)].cancel("please")
    return None


@doing
async def cancel_soon(world, which):
    if world.started:
        task = world.started[which % len(world.started)]
        asyncio.get_running_loop().call_later(0.01, task.cancel)


@doing
async def never_await(world):
    perform(world, ("sleep", 0))


@doing
async def call_soon_and_later(world):
    loop = asyncio.get_running_loop()
    loop.call_soon(world.note, "soon")
    loop.call_later(0.015, world.note, "later")
    loop.call_soon(int, "not a number")


@doing
async def look_around(world):
    here = asyncio.current_task()
    others = [x for x in in_order(asyncio.all_tasks()) if not x.get_coro().cr_running]
    stacks = [[f.f_code.co_name for f in x.get_stack()] for x in others]
    return here.get_name()[:5], here.cancelling(), stacks


@doing
async def watch(world, step):
    with world.record() as timeline:
        world.timelines.append(timeline)
        return await perform(world, step)


@doing
async def watch_on(world):
    """A recording that ends when another step says so, perhaps out of order."""
    stack = ExitStack()
    world.timelines.append(stack.enter_context(world.record()))
    world.open.append(stack)


@doing
async def watch_off(world, which):
    if world.open:
        world.open.pop(which % len(world.open)).close()


def finished(task):
    """The word that a lane must have for how a task has ended."""
    if not task.done():
        return "pending"
    if task.cancelled():
        return "cancelled"
    return "ok" if task._exception is None else type(task._exception).__name__


async def program(world, step):
    with ExitStack() as every, world.record() as timeline:
        world.timelines.append(timeline)
        every.callback(lambda: [x.close() for x in world.open])
        try:
            return await perform(world, step)
        finally:
            every.close()
            alive = filter(None, (x() for x in world.watched))
            world.outcomes = {x.get_name(): finished(x) for x in alive}


def end_what_is_left(runner):
    """What the runner does when it closes, but in an order that is always the same."""
    loop = runner.get_loop()
    while left := in_order(asyncio.all_tasks(loop)):
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


def run(step, kind, recorder, debug=False):
    """All that a program shows, on a new loop."""
    unraisable = []
    shown = {"warnings": [], "unraisable": unraisable, "error": None, "result": None}
    hook, sys.unraisablehook = (
        sys.unraisablehook,
        lambda x: unraisable.append(told(x[1])),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with asyncio.Runner(loop_factory=Loop) as runner:
                loop = runner.get_loop()
                loop.set_debug(debug)
                loop.set_task_factory(kind)
                world = World(recorder, loop)
                loop.set_exception_handler(world.complain)
                try:
                    shown["result"] = plain(runner.run(program(world, step)))
                except (Exception, asyncio.CancelledError) as error:
                    shown["error"] = told(error)
                end_what_is_left(runner)
            for stack in world.open:
                stack.close()
            shown["loop"] = sorted(vars(loop))
        finally:
            sys.unraisablehook = hook
        world.started.clear()
        shown["refs"] = [x() is None for x in world.watched]
        deaths = len(world.log)
        gc.collect()
    shown["log"], shown["late"] = (
        world.log[:deaths],
        sorted(map(plain, world.log[deaths:])),
    )
    shown["complaints"] = world.complaints
    shown["outcomes"] = world.outcomes
    for one in caught:
        what = NUMBERED.sub("", str(one.message)).splitlines()
        del what[1:-2]  # in debug mode the stack, on which the recorder stands too
        shown["warnings"].append((one.category, what, one.filename, one.lineno))
    return shown, world.timelines


def python_task(loop, coroutine, **options):
    return PythonTask(coroutine, loop=loop, **options)


def bare():
    return nullcontext()


KINDS = [None, python_task]
if sys.version_info >= (3, 12):
    KINDS.append(asyncio.create_eager_task_factory(Task))

seconds = st.sampled_from([0, 0.01, 0.02, 0.05])
which = st.integers(0, 3)
leaves = st.one_of(
    st.tuples(st.just("sleep"), seconds),
    st.tuples(st.sampled_from(["join", "cancel", "cancel_soon", "watch_off"]), which),
    st.tuples(
        st.sampled_from(
            [
                *("refuse", "exhaust", "put", "get", "set_event", "wait_event"),
                *("notify", "wait_condition", "never_await", "call_soon_and_later"),
                *("look_around", "watch_on"),
            ]
        )
    ),
)


def composed(steps):
    some = st.lists(steps, min_size=1, max_size=4)
    when = st.sampled_from(["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])
    several = st.sampled_from(["in_turn", "group", "as_completed"])
    one = st.sampled_from(
        [
            *("shield", "forgive", "forgive_all", "semaphore", "watch"),
            *("start", "drop", "start_directly"),
        ]
    )
    limited = st.sampled_from(["timeout", "wait_for"])
    return st.one_of(
        st.builds(lambda kind, parts: (kind, *parts), several, some),
        st.builds(lambda keep, parts: ("gather", keep, *parts), st.booleans(), some),
        st.builds(lambda when, parts: ("wait", when, *parts), when, some),
        st.tuples(one, steps),
        st.tuples(limited, seconds, steps),
        st.tuples(st.just("lock"), st.integers(0, 1), steps),
        st.tuples(st.just("at_last"), steps, steps),
    )


programs = st.builds(
    lambda parts: ("in_turn", *parts),
    st.lists(st.recursive(leaves, composed, max_leaves=12), min_size=1, max_size=5),
)


@pytest.fixture(autouse=True)
def only_counted_references_free_what_dies():
    gc.collect()
    gc.freeze()  # what the tests' tools have loaded need not be searched each time
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def compare(step, kind, debug=False):
    expected, _ = run(step, kind, bare, debug)
    shown, timelines = run(step, kind, record, debug)
    for question, answer in expected.items():
        assert shown[question] == answer, question
    for timeline in timelines:
        assert flaws(timeline) == []
    return shown, timelines[0]


def agree(timeline: Timeline, outcomes: dict):
    """The lanes' ends are those that the tasks themselves tell."""
    for name, outcome in outcomes.items():
        assert timeline.lane(name).outcome == outcome
        assert timeline.lane(name).coroutine == "perform"


def examples(number):
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda x: getattr(x, "__name__", "plain"))
@examples(150)
@given(programs)
@example(("in_turn", ("watch_on",), ("start", ("watch_on",)), ("watch_off", 0)))
def test_a_recorded_program_does_what_it_does_bare(kind, step):
    shown, timeline = compare(step, kind)
    agree(timeline, shown["outcomes"])


@examples(50)
@given(programs)
def test_a_recorded_program_does_in_debug_mode_what_it_does_bare(step):
    compare(step, None, debug=True)


@contextmanager
def that_keeps_a_task():
    kept = asyncio.all_tasks()
    loop = asyncio.get_running_loop()
    loop.create_task = lambda *args, **options: (
        kept.add(task := type(loop).create_task(loop, *args, **options)) or task
    )
    yield Timeline()
    del loop.create_task
    KEPT.append(kept)


@contextmanager
def that_wraps_coroutines():
    async def wrapped(coroutine):
        return await coroutine

    loop = asyncio.get_running_loop()
    create_task = loop.create_task
    loop.create_task = lambda coroutine, **options: create_task(
        wrapped(coroutine), **options
    )
    yield Timeline()
    del loop.create_task


@contextmanager
def that_turns_the_loop():
    loop = asyncio.get_running_loop()
    found = loop.call_soon
    loop.call_soon = lambda *args, **options: found(found, *args, **options)
    yield Timeline()
    del loop.call_soon


KEPT = []


@pytest.mark.parametrize(
    "recorder", [that_keeps_a_task, that_wraps_coroutines, that_turns_the_loop]
)
def test_the_comparison_notices_a_recorder(recorder):
    step = (
        "in_turn",
        ("gather", False, ("sleep", 0.01), ("refuse",)),
        ("never_await",),
    )
    expected, _ = run(step, None, bare)
    assert run(step, None, bare)[0] == expected
    assert run(step, None, recorder)[0] != expected
    KEPT.clear()
