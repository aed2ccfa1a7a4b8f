"""An event loop whose clock jumps over waits, stands still for work, and shows blocks.

It is our own because looptime 0.9 and async-solipsism 0.10, tried first, both give a
step that blocks no time; besides, one throws a deadlock into the program as a
TimeoutError that the program may catch, and the other refuses sockets and threads.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
from time import perf_counter
from typing import Any

from lessons_support.timeline import BLOCKED_AFTER

MOST_TURNS = 100_000
"""After so many turns of the loop, the limit counts as reached, whatever the time."""

FREE_TURNS, TURN = 10_000, 0.001
"""A loop may turn so often without a wait; then each turn takes so many seconds.

So a program that asks again and again whether a moment has come does get there.
"""

GLANCE = 0.02
"""Seconds of a real wait for threads and sockets, before the limit is looked at."""


class Stuck(BaseException):
    """Every task waits, and neither a timer nor the outside world will wake one."""


class Endless(BaseException):
    """A limit has been reached, and tasks still go on: it may say which limit."""


class Clock:
    """A clock of two faces: ``time`` for the loop, a call for what is recorded.

    A step of a task takes no time, unless it lasts longer than 50 ms: then it takes its
    real length. A recording needs to know what came first even so. Therefore each
    reading of it is later than the one before, by the least that a float can show.
    """

    def __init__(self) -> None:
        self.now = self.read = 0.0
        self.watch: Any = None
        self._begin()

    def _begin(self) -> None:
        """A step may begin here."""
        self.base, self.began = self.now, perf_counter()

    def time(self) -> float:
        """Seconds since the start, on the loop's clock."""
        if self.watch is not None and self.watch.since:
            spent = perf_counter() - self.began
            if spent > BLOCKED_AFTER:
                self.now = max(self.now, self.base + spent)
        return self.now

    def __call__(self) -> float:
        """Seconds since the start, for a recording."""
        if self.watch is not None and not self.watch.since:
            self._begin()
        self.read = max(self.time(), math.nextafter(self.read, math.inf))
        return self.read


class _Selector(selectors.DefaultSelector):
    """Waits for the world outside only where there is somebody to wait for."""

    loop: FastForwardLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        self.loop.look_at_limit()
        if timeout == 0:
            self.loop.turn()
            return super().select(0)
        if self.loop.waits_for_outside():
            return self._really(timeout)
        self.loop.jump()
        return []

    def _really(self, timeout: float | None) -> list[Any]:
        seconds = GLANCE if timeout is None else min(timeout, GLANCE)
        begin = perf_counter()
        ready = super().select(seconds)
        self.loop.let_pass(perf_counter() - begin)
        return ready


class FastForwardLoop(asyncio.SelectorEventLoop):
    """An event loop on which waits take no real time, up to a limit in real seconds.

    Raises Stuck where nobody can go on, and Endless at the limit, out of `run_forever`.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.run_for(math.inf)
        self.elsewhere: set[asyncio.Future[Any]] = set()
        self.threads = _threads()
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.insiders = len(selector.get_map())

    def run_for(self, limit: float) -> None:
        """From now on, so many real seconds until Endless."""
        self.deadline = perf_counter() + limit
        self.turns = self.turns_here = 0

    def time(self) -> float:
        """Seconds on the clock that jumps."""
        return self.clock.time()

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> Any:
        """Call a function in another thread; that takes real time."""
        future = super().run_in_executor(executor, function, *args)
        self.elsewhere.add(future)
        future.add_done_callback(self.elsewhere.discard)
        return future

    def waits_for_outside(self) -> bool:
        """Whether a thread or a socket may still have something to say."""
        if self.elsewhere or len(self._selector.get_map()) > self.insiders:
            return True
        begun = _threads() - self.threads
        return bool(begun - set(getattr(self._default_executor, "_threads", ())))

    def look_at_limit(self) -> None:
        """Raise Endless if the limit has been reached."""
        self.turns += 1
        if self.turns > MOST_TURNS:
            raise Endless(f"{MOST_TURNS:,} turns of the loop")
        if perf_counter() > self.deadline:
            raise Endless

    def turn(self) -> None:
        """There is something to run at this very moment."""
        self.turns_here += 1
        if self.turns_here > FREE_TURNS:
            self.clock.now += TURN

    def jump(self) -> None:
        """Go to the next timer at once."""
        if not self._scheduled or self._scheduled[0]._when == math.inf:
            raise Stuck
        self.turns_here = 0
        self._move(self._scheduled[0]._when)

    def let_pass(self, seconds: float) -> None:
        """Real seconds have passed, but no timer is passed over."""
        then = self.clock.now + seconds
        self._move(min(then, *(x._when for x in self._scheduled[:1]), then))

    def _move(self, then: float) -> None:
        self.clock.now = max(self.clock.now, then)
        # Far from zero, floats lie further apart than a timer may be early.
        self._clock_resolution = max(1e-9, 2 * math.ulp(then))


def _threads() -> set[threading.Thread]:
    """The threads that the program has begun, by way of `threading`."""
    made = threading._active.copy().values()
    return {x for x in made if not isinstance(x, threading._DummyThread)}
