"""Watch the calls of the functions that a rehearsed function is given.

Two waits in a row are a mistake only if the second could have begun with the first. The
second call *needs* the first unless it is plain that it does not, which is when

* each of its arguments was at hand when the first call began: it equals a part of what
  the rehearsed function was given, a constant of the code that calls, or a part of what
  a call had returned by then;
* none of its arguments equals a part of what the first call returned;
* it is not the same question again;
* both answers were kept: each, or its error's text, is part of the final result, as
  often as calls have given it. (A call whose answer nobody keeps is made for its
  effect, which may need its turn.)
* the code that calls has no branch that could depend on an answer.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, wraps
from types import CodeType
from typing import Any, NamedTuple

from lessons_support.sampler import LIBRARIES, Place
from lessons_support.words import text_of

MOST_CALLS, MOST_PARTS, DEPTH = 50, 500, 4
"""Beyond so many calls, and so many parts of a value, everything needs everything."""

ALWAYS = float("-inf")
"""Before any moment: what was there from the beginning has been there since then."""

CATCHES = {"CHECK_EXC_MATCH", "WITH_EXCEPT_START"}


@dataclass(slots=True)
class Asked:
    """One call under watch; ``log`` and ``lane`` say which task ran it.

    ``made`` is the moment of the call itself, ``start`` that of its first step.
    """

    name: str
    question: tuple[Any, ...]
    codes: tuple[CodeType, ...]
    where: Place | None
    made: float
    log: Any = None
    lane: int | None = None
    start: float | None = None
    end: float | None = None
    answer: Any = None
    error: str = ""

    @property
    def outcome(self) -> Any:
        return self.error or self.answer


Noted = tuple[Asked, float | None, tuple[int, ...]]
"""A call, its end if it had one by then, and the numbers of the calls it needed."""


@dataclass(slots=True)
class Calls:
    """The calls of the async functions among ``given``, in the order they began."""

    given: tuple[Any, ...]
    step: Callable[[], tuple[float, Any, int | None]]
    asked: list[Asked] = field(default_factory=list)

    def watched(self) -> list[Any]:
        """What was given, each async function with a watch over its calls."""
        return [
            self._watched(x) if inspect.iscoroutinefunction(x) else x
            for x in self.given
        ]

    def _watched(self, function: Any) -> Any:
        name = getattr(function, "__name__", "call")

        @wraps(function)
        async def run(asked: Asked, args: Any, options: Any) -> Any:
            asked.start, asked.log, asked.lane = self.step()
            if asked.start - asked.made > 1e-6:
                asked.where = None  # it is another line that awaits
            self.asked.append(asked)
            try:
                asked.answer = await function(*args, **options)
            except BaseException as error:
                asked.error = text_of(error)
                raise
            finally:
                asked.end = self.step()[0]
            return asked.answer

        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            codes, where = _askers()
            question = (*args, *options.values())
            asked = Asked(name, question, codes, where, self.step()[0])
            return run(asked, args, options)

        _mark(call)
        return call

    def noted(self, result: Any) -> list[Noted]:
        """The calls so far, given the final result."""
        needs = self._needs(result)
        return [(x, x.end, y) for x, y in zip(self.asked, needs, strict=True)]

    def _needs(self, result: Any) -> list[tuple[int, ...]]:
        """For each call the numbers of the earlier ones that it may have needed."""
        if len(self.asked) > MOST_CALLS:
            return [tuple(range(n)) for n in range(len(self.asked))]
        held = list(parts(result))
        known = [self._known(asked, held) for asked in self.asked]
        return [
            tuple(n for n in range(number) if not _free(known[number], known[n]))
            for number in range(len(self.asked))
        ]

    def _known(self, asked: Asked, held: list[Any]) -> _Known:
        given = sum(_same(x.outcome, asked.outcome) for x in self.asked)
        kept = _times(asked.outcome, held) >= given
        free = kept and not any(map(branches, asked.codes))
        since = max((self._since(x, asked) for x in asked.question), default=ALWAYS)
        return _Known(asked, free, since, list(parts(asked.answer)))

    def _since(self, value: Any, asked: Asked) -> float:
        """Since when an argument was at hand."""
        if any(_among(value, parts(x)) for x in self.given):
            return ALWAYS
        if any(_among(value, parts(x.co_consts)) for x in asked.codes):
            return ALWAYS
        ends = (
            x.end
            for x in self.asked
            if x.end is not None
            and x.end <= asked.start
            and _among(value, parts(x.answer))
        )
        return min(ends, default=float("inf"))


class _Known(NamedTuple):
    """What decides whether a call needed another: ``free`` if it may need none.

    Its arguments were at hand ``since`` a moment; ``answer`` is its answer in parts.
    """

    asked: Asked
    free: bool
    since: float
    answer: list[Any]


def _free(later: _Known, earlier: _Known) -> bool:
    """Whether a call could plainly have begun when an earlier one did."""
    one, other = later.asked, earlier.asked
    again = one.name == other.name and _equal(one.question, other.question)
    return (
        later.free
        and earlier.free
        and later.since <= other.start
        and not again
        and not any(_among(x, earlier.answer) for x in one.question)
    )


def _mark(function: Any) -> None:
    """Let a function that returns a coroutine count as one made by `async def`."""
    if hasattr(inspect, "markcoroutinefunction"):  # Python 3.12
        inspect.markcoroutinefunction(function)


def _askers() -> tuple[tuple[CodeType, ...], Place | None]:
    """The learner's code that calls just now, and the line."""
    codes, where = [], None
    frame = sys._getframe(2)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(LIBRARIES):
            codes.append(frame.f_code)
            where = where or Place(frame.f_code.co_filename, frame.f_lineno)
        elif codes:
            break
        frame = frame.f_back
    return tuple(codes), where


@cache
def branches(code: CodeType) -> bool:
    """Whether code may go one way or another, other than by an exception."""
    before = ""
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if "JUMP" in name and "IF" in name and before not in CATCHES:
            return True
        if name != "TO_BOOL" or before not in CATCHES:
            before = name
    return False


def _times(outcome: Any, held: list[Any]) -> int:
    """How often a result holds what a call has given, a text within others too."""
    if outcome is None:
        return 0
    if isinstance(outcome, str) and outcome:
        return sum(x.count(outcome) for x in held if isinstance(x, str))
    return sum(_same(x, outcome) for x in held)


def _among(value: Any, others: Any) -> bool:
    return any(_same(x, value) for x in others)


def _same(one: Any, other: Any) -> bool:
    return one is other or _equal(one, other)


def _equal(one: Any, other: Any) -> bool:
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:
        return False


def parts(value: Any) -> Iterator[Any]:
    """A value, what it holds, and what that holds, up to a depth and a number."""
    left, waiting = MOST_PARTS, [(value, 0)]
    while waiting and left:
        left -= 1
        value, depth = waiting.pop()
        yield value
        if depth < DEPTH:
            with suppress(Exception):  # the learner's objects may do as they like
                waiting += [(x, depth + 1) for x in _held(value)]


def _held(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()][:MOST_PARTS]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)[:MOST_PARTS]
    held = getattr(value, "__dict__", None)
    of_data = isinstance(held, dict) and not callable(value)
    return list(held.values())[:MOST_PARTS] if of_data else []
