"""Watch one event loop: hooks that note every step and change nothing.

Whatever an event loop runs, it runs through `asyncio.Handle._run`; whatever becomes
ready passes through the loop's `_call_soon`; whoever starts a task calls the loop's
`create_task`. A watch stands at these three places, looks at the clock, writes a few
numbers into a log and calls what was there before. Coroutines, tasks and futures stay
as they are, so results, tracebacks, cancellation and garbage collection do too.

Nothing here holds a task, a future, an exception or a callback longer than its step.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import events, futures, locks, selector_events, tasks
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from gc import get_referents
from threading import get_ident
from time import perf_counter
from types import AsyncGeneratorType, CoroutineType, MethodType, SimpleNamespace
from typing import Any
from weakref import ref

from lessons_support.log import AGAIN, ENDED, FUTURE, Life, Log, View
from lessons_support.sampler import TICK, Place, Sampler, place_of
from lessons_support.timeline import BLOCKED_AFTER, CANCELLED, OK, PENDING

WATCHES: dict[asyncio.AbstractEventLoop, Watch] = {}
"""The loops that are watched now."""

KERNEL = {"ipykernel", "IPython", "anyio", "tornado", "zmq", "jupyter_client"}
"""Packages whose tasks belong to the notebook's kernel, not to the reader."""

IN_THREAD = "run_sync_in_worker_thread"
"""By this function of AnyIO a web framework runs a handler that is a plain `def`."""

SERVER = "uvicorn"
"""The package that serves; of its tasks, only those that handle a request show."""

ASYNCIO_FILES = {
    module.__file__
    for name, module in sys.modules.items()
    if name.startswith("asyncio.") and getattr(module, "__file__", None)
}

# nest_asyncio rebinds asyncio.Task, so the two classes are taken from where they live.
PyTask = tasks._PyTask
CTask = getattr(tasks, "_CTask", PyTask)
CFuture = getattr(futures, "_CFuture", futures.Future)
Gathering = tasks._GatheringFuture
Entering = locks._ContextManagerMixin.__aenter__.__code__
WaitFor = asyncio.wait_for.__code__
PY_STEPS = (PyTask._Task__step, PyTask._Task__wakeup)
OF_ASYNCIO = {
    asyncio.BaseEventLoop.shutdown_asyncgens.__code__,
    asyncio.BaseEventLoop.shutdown_default_executor.__code__,
    selector_events.BaseSelectorEventLoop._accept_connection2.__code__,
}
"""Coroutines that asyncio makes tasks of by itself, to shut down and to be called."""


def _type_of_first_step() -> type | None:
    """The type of the callback by which asyncio's C task asks for its first step."""
    asked: list[Any] = []

    class Loop:
        def get_debug(self) -> bool:
            return False

        def call_soon(self, callback: Any, *_: Any, **__: Any) -> None:
            asked.append(callback)

        def call_exception_handler(self, context: dict[str, Any]) -> None:
            """Destroyed while pending, as it is meant to be."""

    async def nothing() -> None: ...

    coroutine = nothing()
    CTask(coroutine, loop=Loop())
    coroutine.close()
    return type(asked.pop())


FirstStep = _type_of_first_step()


def _types_of_generator() -> frozenset[type]:
    """The types of what an asynchronous generator gives to be awaited."""

    async def generate() -> AsyncIterator[None]:
        yield

    generator = generate()
    steps = generator.__anext__(), generator.aclose()
    for step in steps:
        step.close()  # or it would complain that nobody awaited it
    return frozenset(map(type, steps))


OF_GENERATOR = _types_of_generator()


def waits_for(task: Any, waiter: Any, lane_of: dict[int, int]) -> Any:
    """What a suspended task waits for: a task's number, a word, or asyncio's code.

    That is the first function of asyncio below the program's own code, which tells a
    reader more than the bare future at the bottom.
    """
    if type(waiter) is not CFuture:
        if isinstance(waiter, (CTask, PyTask)):
            return lane_of.get(id(waiter), "task")
        if type(waiter) is Gathering:
            return "gather"
    found = FUTURE
    coroutine = task.get_coro()
    while True:
        while type(coroutine) is CoroutineType:
            code = coroutine.cr_code
            if code.co_filename not in ASYNCIO_FILES:
                found = code if code.co_name == IN_THREAD else FUTURE
            elif found is FUTURE or found is Entering or found is WaitFor:
                found = code
            coroutine = coroutine.cr_await
        if type(coroutine) not in OF_GENERATOR:
            break
        found, coroutine = FUTURE, awaited_by_generator(coroutine)
    if found is FUTURE and is_shield(waiter):
        return "shield"
    return found


def awaited_by_generator(step: Any) -> Any:
    """What an asynchronous generator awaits, given a step of it that is awaited."""
    made_of = get_referents(step)  # the step itself does not tell of its generator
    return next((x.ag_await for x in made_of if type(x) is AsyncGeneratorType), None)


def is_shield(future: Any) -> bool:
    """Whether a future is what `asyncio.shield` gives: it listens to its own end."""
    return any(
        getattr(callback, "__qualname__", "").startswith("shield.")
        for callback, _ in getattr(future, "_callbacks", None) or ()
    )


def noting(asyncio_run: Callable[[Any], None]) -> Callable[[Any], None]:
    """`Handle._run`, with a note of each step on a loop that is watched.

    This is the hot path: each line of it is paid for a million times. A callback is a
    task's step by its type; what else a task lends to the loop (its ``cancel``, say)
    goes by another name.
    """
    limit = BLOCKED_AFTER
    first_step, builtin, method = FirstStep, type(len), MethodType

    def _run(self: Any) -> None:
        watch = LATEST
        if watch.loop is not self._loop:
            watch = WATCHES.get(self._loop) or _wanted(self._loop)
            if watch is None:
                return asyncio_run(self)
        callback = self._callback
        kind = type(callback)
        if (
            kind is first_step
            or (kind is builtin and callback.__name__ == "task_wakeup")
            or (kind is method and callback.__func__ in PY_STEPS)
        ):
            task = callback.__self__
            lane = watch.lane_of.get(id(task))
            if lane is None or lane < 0:
                lane = watch.meet(task)
        else:
            task, lane, after = None, None, watch.cause(self)
        if watch.current is not None:
            watch.interrupted()
        outer, outer_since = watch.current, watch.since
        watch.current = lane
        clock = watch.clock
        watch.since = begin = clock()
        try:
            asyncio_run(self)
        except BaseException as error:  # an interrupt or an exit, on its way out
            hide_frame(error)
            raise
        finally:
            end = clock()
            begin = watch.since  # later than it was, if the task has stood aside
            watch.current, watch.since = outer, outer_since
            if task is not None:
                waiter = task._fut_waiter
                if waiter is not None:
                    after = waits_for(task, waiter, watch.lane_of)
                elif task.done():
                    after = ENDED
                    watch.ended(lane, task, end)
                else:
                    after = AGAIN
            watch.note((lane, begin, end, after))
            if end - begin > limit:
                watch.blocked(lane, begin, end)
            # A traceback may keep this frame; it must not keep the task.
            self = callback = task = waiter = None

    return _run


def _wanted(loop: Any) -> Watch | None:
    """Watch a loop seen for the first time, if a recording waits for it to start."""
    for watch in WANTED:
        watch(loop)
    return WATCHES.get(loop)


WANTED: list[Callable[[Any], None]] = []
"""Who is told of a loop that nobody watches, and may watch it."""


def hide_frame(error: BaseException) -> None:
    """Take the frame that has caught an exception off its traceback.

    A bare ``raise`` afterwards does not put it back, so nobody sees us.
    """
    error.__traceback__ = error.__traceback__.tb_next


def hide_frames(stack: list[Any] | None) -> None:
    """Take us off the stack that asyncio's debug mode keeps of who made an object."""
    if stack:
        stack[:] = [x for x in stack if x.filename != __file__]


def name_of(coroutine: Any) -> str:
    """The qualified name of the function that a coroutine runs."""
    return getattr(coroutine, "__qualname__", None) or type(coroutine).__name__


def behind_the_scenes(coroutine: Any) -> bool:
    """Whether a task that nobody in the program started is none of the reader's.

    Such are the tasks of the notebook's kernel and of a server, and asyncio's own.
    """
    if type(coroutine) in OF_GENERATOR:
        return True  # the loop closes a generator that nobody asks any more
    frame = getattr(coroutine, "cr_frame", None)
    if frame is None:
        return False
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    of_kernel = "ipykernel" in sys.modules and package in KERNEL
    return of_kernel or package == SERVER or frame.f_code in OF_ASYNCIO


class Watch:
    """The watch over one loop, from `attach` to `detach`, and its log."""

    def __init__(
        self,
        loop: asyncio.BaseEventLoop,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.loop = loop
        self.clock = clock
        self.thread = get_ident()
        self.log = Log()
        self.note = self.log.steps.extend
        self.lane_of: dict[int, int] = {}
        self.current: int | None = None
        self.since = 0.0
        self.adopted = False
        self.nudge: asyncio.Handle | None = None
        self.samples: list[tuple[float, Place]] = []
        self.offset = clock() - loop.time()

    # Coming and going.

    def attach(self) -> None:
        """Stand at the three places, and take in what is there already."""
        global LATEST
        LATEST = WATCHES[self.loop] = self
        hooks = {
            "_call_soon": self._noting_wakes(self.loop._call_soon),
            "create_task": self._noting_births(self.loop.create_task),
            "call_exception_handler": self._noting_complaints(
                self.loop.call_exception_handler
            ),
        }
        self._found = {x: getattr(self.loop, x) for x in hooks if self._has_own(x)}
        self._hooks = hooks
        # Not by way of the loop's __dict__: whoever touches that makes each look at an
        # attribute of the loop slower from then on, 200 instructions a step.
        for name, hook in hooks.items():
            setattr(self.loop, name, hook)
        self._adopt()

    def detach(self) -> None:
        """Leave the loop as it was found, and forget its tasks."""
        global LATEST
        del WATCHES[self.loop]
        if LATEST is self:
            LATEST = NOBODY
        for name, hook in self._hooks.items():
            if getattr(self.loop, name) is not hook:
                continue  # somebody has put a wrapper of their own around ours
            if name in self._found:
                setattr(self.loop, name, self._found[name])
            else:
                delattr(self.loop, name)
        if self.nudge is not None:
            self.nudge.cancel()
        self.lane_of.clear()
        for life in self.log.lives:
            life.task = None

    def _has_own(self, name: str) -> bool:
        """Whether the loop has a method of its own in place of its class's."""
        # A method of the class is bound anew at each look. (Its __dict__ would tell,
        # but see `attach`.)
        first, second = getattr(self.loop, name), getattr(self.loop, name)
        return first is second and first is not getattr(type(self.loop), name, None)

    def _adopt(self) -> None:
        """Take in the tasks there are, and the step that is under way."""
        now = self.clock()
        current = asyncio.current_task(self.loop)
        for task in asyncio.all_tasks(self.loop):
            lane = self.meet(task)
            if task is current:
                self.current, self.since, self.adopted = lane, now, True
            else:
                self.note((lane, now, now, self._after(lane, task, now)))
        if self.adopted:
            # This step will end as unseen as it began; the next thing to run shows
            # it. So there is one at once, before the loop goes to sleep.
            self.nudge = self.loop.call_soon(_nothing)

    # Hooks: each notes something and calls what was there before.

    def _noting_wakes(self, call_soon: Callable[..., Any]) -> Callable[..., Any]:
        clock, lane_of, wakes = self.clock, self.lane_of, self.log.wakes
        first_step = FirstStep

        @wraps(call_soon)
        def _call_soon(callback: Any, args: Any, context: Any) -> Any:
            if type(callback) is not first_step:
                lane = lane_of.get(id(getattr(callback, "__self__", None)))
                if lane is not None:
                    wakes.extend((lane, clock()))
            handle = call_soon(callback, args, context)
            if handle._source_traceback:
                hide_frames(handle._source_traceback)
            return handle

        return _call_soon

    def _noting_births(self, create_task: Callable[..., Any]) -> Callable[..., Any]:
        loop = self.loop

        @wraps(create_task)
        def hooked(coro: Any, *args: Any, **options: Any) -> Any:
            try:
                if WATCHES.get(loop) is not self:  # somebody kept us after `detach`
                    return create_task(coro, *args, **options)
                if loop._task_factory is not None or "eager_start" in options:
                    task = self._maybe_eager(create_task, coro, args, options)
                else:
                    born = self.clock()
                    task = create_task(coro, *args, **options)
                    self._know(task, self._expect(coro, self.current, born))
            except BaseException as error:
                hide_frame(error)
                raise
            if loop._debug:
                hide_frames(getattr(task, "_source_traceback", None))
            return task

        return hooked

    def _maybe_eager(
        self, create_task: Callable[..., Any], coroutine: Any, args: Any, options: Any
    ) -> Any:
        """An eager task takes its first step, inside its parent's, at its birth."""
        outer, begin = (self.current, self.since), self.clock()
        lane = self._expect(coroutine, self.current, begin)
        self.current, self.since = lane, begin
        try:
            task = create_task(coroutine, *args, **options)
        except BaseException as error:
            self.log.lives[lane].hidden = True
            hide_frame(error)
            raise
        finally:
            self.current, self.since = outer
        self._know(task, lane)
        if getattr(coroutine, "cr_suspended", False) or task.done():
            end = self.clock()
            self.note((lane, begin, end, self._after(lane, task, end)))
        return task

    def _noting_complaints(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(handler)
        def call_exception_handler(context: dict[str, Any]) -> None:
            message = context.get("message")
            if message == "Task exception was never retrieved":
                lane = self.finished(context.get("future"))
                if lane is not None:
                    self.log.unseen.append(lane)
            elif message == "Task was destroyed but it is pending!":
                self.lane_of.pop(id(context.get("task")), None)
            handler(context)

        return call_exception_handler

    # What is noted.

    def meet(self, task: Any) -> int:
        """The number of a task that was not seen when it was created."""
        coroutine = None if task.done() else task.get_coro()
        lane = self._expect(coroutine, None, self.clock())
        self._know(task, lane)
        return lane

    def _expect(self, coroutine: Any, parent: int | None, born: float) -> int:
        lives = self.log.lives
        unknown = parent is None or lives[parent].hidden
        hidden = unknown and behind_the_scenes(coroutine)
        lives.append(Life(name_of(coroutine), parent, born, hidden))
        return len(lives) - 1

    def _know(self, task: Any, lane: int) -> None:
        self.lane_of[id(task)] = lane
        self.log.lives[lane].task = ref(task)

    def finished(self, future: Any) -> int | None:
        """The number of a task that has ended, if that is what this object is."""
        # Where a task has gone, a future may stand now.
        if not isinstance(future, (CTask, PyTask)):
            return None
        lane = self.lane_of.get(id(future))
        return None if lane is None or lane >= 0 else ~lane

    def ended(self, lane: int, task: Any, when: float) -> None:
        """Note how a task has ended, and forget it."""
        # The memory of a task that has gone may be another's: ~lane is no longer alive.
        self.lane_of[id(task)] = ~lane
        life = self.log.lives[lane]
        life.name, life.ended = task.get_name(), when
        if life.outcome != PENDING:
            return  # a request's outcome is its handler's
        if task.cancelled():
            life.outcome = CANCELLED
        elif task._exception is None:
            life.outcome = OK
        else:
            life.outcome = type(task._exception).__name__

    def _after(self, lane: int, task: Any, now: float) -> Any:
        """What comes after a step that was not seen to its end."""
        if task.done():
            self.ended(lane, task, now)
            return ENDED
        waiter = task._fut_waiter
        if waiter is None or waiter.done():
            return AGAIN
        return waits_for(task, waiter, self.lane_of)

    def interrupted(self) -> None:
        """Something runs while a step is under way: if adopted, that step has ended.

        Otherwise it is a loop run inside a step, and the step will go on.
        """
        if self.adopted:
            lane, begin, now = self.current, self.since, self.clock()
            task = self.log.lives[lane].task()
            after = ENDED if task is None else self._after(lane, task, now)
            self.note((lane, begin, now, after))
            if now - begin > BLOCKED_AFTER:
                self.blocked(lane, begin, now)
            self.current, self.since, self.adopted = None, 0.0, False

    @contextmanager
    def aside(self, reason: str) -> Iterator[None]:
        """Let the task under way show, while it keeps the loop, as waiting for that."""
        lane, begin, now = self.current, self.since, self.clock()
        if lane is not None:
            self.note((lane, begin, now, reason))
            if now - begin > BLOCKED_AFTER:
                self.blocked(lane, begin, now)
        try:
            yield
        finally:
            if lane is not None:
                self.since = self.clock()

    def view(self, block: int | None, end: float) -> View:
        """What there is to see by now, for a recording that ends."""
        blocks, unseen = list(self.log.blocks), list(self.log.unseen)
        if self.since and end - self.since > BLOCKED_AFTER:
            blocks.append((self.current, self.since, end, self.place_seen(self.since)))
        for lane, life in enumerate(self.log.lives):
            task = life.task() if life.task else None
            if task is None:
                continue
            life.name = task.get_name()  # a name may have been given late
            if life.ended is not None and getattr(task, "_log_traceback", False):
                unseen.append(lane)
        running, upto = (self.current, self.since), len(self.log.steps)
        if running[1] > end:  # the loop of another thread has gone on
            running = None, 0.0
        while upto and self.log.steps[upto - 3] > end:
            upto -= 4
        return View(self.log, upto, block, running, blocks, unseen)

    def cause(self, handle: Any) -> tuple[float, Any] | None:
        """Why a plain callback runs: a timer with its deadline, or a finished task."""
        if type(handle) is events.TimerHandle:
            return handle._when + self.offset, "timer"
        if not handle._args:
            return None
        lane = self.finished(handle._args[0])
        return None if lane is None else (0.0, lane)

    def blocked(self, lane: int | None, begin: float, end: float) -> None:
        """Note a step that kept the loop, and the line where it was seen most often."""
        self.log.blocks.append((lane, begin, end, self.place_seen(begin)))

    def place_seen(self, begin: float) -> Place | None:
        """The line at which the sampler saw a step most often."""
        seen = Counter(place for since, place in self.samples if since == begin)
        return seen.most_common(1)[0][0] if seen else None

    def look(self) -> None:
        """Note where the step is that is under way (called by the sampler's thread)."""
        since = self.since
        if not since or perf_counter() - since < TICK:
            return
        place = place_of(self.thread)
        if place is None or self.since != since:
            return
        if self.samples and self.samples[0][0] != since:
            self.samples = []
        self.samples.append((since, place))


NOBODY = SimpleNamespace(loop=None)
LATEST: Any = NOBODY
"""The watch that began last: it saves most steps a look into `WATCHES`."""


def _nothing() -> None:
    """Runs on the loop so that the loop turns once."""


def _look_at_all() -> None:
    for watch in tuple(WATCHES.values()):
        watch.look()


class _Post:
    """The place in `Handle._run`, taken while anybody watches or waits to watch."""

    def __init__(self) -> None:
        self.sampler = Sampler(_look_at_all)
        self.ours: Callable[[Any], None] | None = None

    def take(self) -> None:
        if self.ours is None:
            self.found = events.Handle._run
            self.ours = events.Handle._run = noting(self.found)
        self.sampler.start()

    def leave(self) -> None:
        self.sampler.stop()
        # Whoever has wrapped our function meanwhile goes on calling it: then it
        # stays, does nothing but call on, and serves again next time.
        if events.Handle._run is self.ours:
            events.Handle._run, self.ours = self.found, None


POST = _Post()
