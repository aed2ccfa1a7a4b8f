"""What a timeline shows, in plain sentences: each with its number, task and line.

Where one mistake has several effects, only the mistake is named.
"""

from __future__ import annotations

import inspect
import re
from asyncio import Task, isfuture
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from lessons_support import calls
from lessons_support.sampler import function_of_asyncio, place_raised
from lessons_support.timeline import (
    BLOCK,
    FIRST_LOOP,
    SPAN,
    TASK,
    Blocked,
    Call,
    Lane,
    Stopped,
    Timeline,
)
from lessons_support.words import at_place, clock, in_brief, many, text_of

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
MOST_NAMES = 3


def findings(timeline: Timeline) -> tuple[str, ...]:
    """The sentences that a timeline gives rise to, the most serious first."""
    if cause := _never_ended(timeline) or _failed(timeline) or _not_run(timeline):
        return cause
    return (
        *_stood_still(timeline.blocked),
        *_one_after_another(timeline),
        *_callbacks_failed(timeline),
        *_never_awaited(timeline),
        *_never_retrieved(timeline),
        *_left_over(timeline),
    )


# --- a rehearsal that did not come to its end


def _never_ended(timeline: Timeline) -> tuple[str, ...]:
    stopped = timeline.stopped
    if stopped is None:
        return ()
    if stopped.why != "stuck":
        return (_endless(stopped),)
    if timeline.callback_errors:  # that, or the next, would have woken them
        return tuple(_callbacks_failed(timeline))
    if timeline.never_awaited:  # or this
        return tuple(_never_awaited(timeline))
    return (_stuck(stopped),)


def _stuck(stopped: Stopped) -> str:
    """Those at the root of it: whoever waits for a task waits for what stops that."""
    roots = [x for x in stopped.who if not _for_others(x[1])] or list(stopped.who)
    _, what, at = roots[0]
    alike = [name for name, *rest in roots if rest == [what, at]]
    whom = "it" if len(alike) == 1 else "them"
    what = {"": "its turn", "future": "a Future"}.get(what, what)
    waits = f"{_listed(alike)} would wait for {what} for ever"
    return f"{waits}, and nobody will wake {whom}{_colon(at)}."


def _for_others(reason: str) -> bool:
    return reason in ("gather", "TaskGroup", "wait") or reason.startswith("task ")


def _endless(stopped: Stopped) -> str:
    did = "computing" if stopped.why in ("busy", "unstoppable") else "awaiting"
    who, _, at = next((x for x in stopped.who if x[2]), stopped.who[0])
    who = who or "A callback"
    told = f"Stopped after {stopped.after}. {who} was still {did}{_colon(at)}."
    if stopped.why == "unstoppable":
        told += " It goes on all the same. To be rid of it, restart the kernel."
    return told


# --- a rehearsal that failed


def _failed(timeline: Timeline) -> tuple[str, ...]:
    error = timeline.exception
    if error is None:
        return ()
    place = place_raised(error, above=calls.__file__)
    where = str(place) if place else ""
    said, asked = text_of(error), function_of_asyncio(error)
    for kind, of, pattern, advice in ADVICE:
        apt = isinstance(error, kind) and re.fullmatch(of, asked)
        if apt and (found := re.search(pattern, said)):
            helps = advice.format(*found.groups(), asked=asked)
            return (f"{helps}{_colon(where)}.",)
    return (f"{_told(error, timeline)}{at_place(where)}.",)


def _told(error: BaseException, timeline: Timeline) -> str:
    name = next((x.name for x in timeline.lanes if x.kind == BLOCK), "The function")
    what = in_brief(error)
    if isinstance(error, BaseExceptionGroup):
        inner = [in_brief(x) for x in error.exceptions]
        kind = type(error).__name__
        article = "an" if kind[0] in "AEIOU" else "a"
        what = f"{article} {kind} that holds {_listed(inner)}"
    after = f" after {seconds(timeline.elapsed)}" if timeline.elapsed > 0.005 else ""
    return f"{name} failed{after} with {what}"


ANY = ".*"

ADVICE = (
    (TypeError, ANY, r"^(The name holds .*; expected a function)", "{}"),
    (
        TypeError,
        "gather",
        "unhashable type: '(list|set|dict)'",
        "gather takes awaitables one by one, but got a {}. Unpack it with *",
    ),
    (
        TypeError,
        ".+",
        "An asyncio.Future, a coroutine or an awaitable is required",
        "{asked} takes what the call of an async def gives, "
        "not a function that was not called, nor a result that was awaited already",
    ),
    (
        TypeError,
        ANY,
        r"(?:function|method)'? (?:object )?can't be (?:used|awaited)",
        "You await a function that was not called. Call it, and await what that gives",
    ),
    (
        TypeError,
        ANY,
        r"NoneType'? (?:object )?can't be (?:used|awaited)",
        "You await None. What you called is not an async def, or was awaited already",
    ),
    (
        TypeError,
        ANY,
        r"'?(list|tuple|set|dict|generator)'? (?:object )?can't be (?:used|awaited)",
        "await takes one awaitable, but got a {}. Give what is in it to gather",
    ),
    (
        TypeError,
        ANY,
        r"'?(\w+)'? (?:object )?can't be (?:used|awaited)",
        "You await a value of type {}. Only what the call of an async def gives, "
        "a task or a Future can be awaited",
    ),
    (
        RuntimeError,
        ".+",
        "cannot be called from a running event loop|loop is already running"
        "|while another loop is running",
        "There is an event loop already, and your function runs on it. Use await",
    ),
)
"""An exception, the function of asyncio that raised it, what it says, and what helps.

{} is what the pattern's group found.
"""


# --- a rehearsal that gave something else than a result


def _not_run(timeline: Timeline) -> tuple[str, ...]:
    block = [x.name for x in timeline.lanes if x.kind == BLOCK]
    if not timeline.awaitable:
        if inspect.isasyncgen(timeline.result):
            return (
                f"{block[0]} has a yield, so it is an asynchronous generator, which "
                "cannot be awaited: put what it gives into a list, and return that.",
            )
        return (f"{block[0]} cannot be awaited: make it async def.",)
    result = timeline.result
    if inspect.iscoroutine(result):
        return (
            f"You returned a coroutine of {_name(result)}, not its result: "
            "await it before you return.",
        )
    if isfuture(result):
        kind = _kind([result])
        return (f"You returned a {kind}, not its result. Await it before you return.",)
    held = _held(result)
    if made := [_name(x) for x in held if inspect.iscoroutine(x)]:
        return tuple(_never_awaited(timeline, *made))
    if futures := list(filter(isfuture, held)):
        return (
            f"You returned {many(len(futures), _kind(futures))}, not results: "
            "await each before you return.",
        )
    return ()


def _kind(futures: list[Any]) -> str:
    return "task" if all(isinstance(x, Task) for x in futures) else "Future"


def _held(result: Any) -> list[Any]:
    if isinstance(result, dict):
        return list(result.values())
    return list(result) if isinstance(result, (list, tuple, set)) else []


def _name(coroutine: Any) -> str:
    return coroutine.__qualname__.rpartition("<locals>.")[2]


# --- what can be said of any timeline


def _stood_still(blocked: tuple[Blocked, ...]) -> Iterator[str]:
    """One sentence for each line that blocked, and for each step without a line.

    What is too short for the words and has no line is the computer's, busy elsewhere.
    """
    places: dict[Any, list[Blocked]] = {}
    for number, step in enumerate(blocked):
        places.setdefault(step.where or number, []).append(step)
    for steps in places.values():
        total = clock(sum(x.end - x.start for x in steps))
        if not total and not steps[0].where:
            continue
        length = total or "under 0.1 s"
        times = f" in all, {len(steps)} times" if len(steps) > 1 else ""
        names = _listed(list(dict.fromkeys(x.lane or "a callback" for x in steps)))
        who = ", ".join(filter(None, (names, steps[0].where)))
        loop = steps[0].loop
        there = f" on {loop}" if loop not in ("", FIRST_LOOP) else ""
        yield f"Nobody else{there} could run for {length}{times}: {who}."


def _callbacks_failed(timeline: Timeline) -> Iterator[str]:
    told = (
        f"A callback failed with {in_brief(x)}{at_place(place_raised(x) or '')}. "
        "Nobody awaits a callback, so nobody was told."
        for x in timeline.callback_errors
    )
    yield from dict.fromkeys(told)


def _never_awaited(timeline: Timeline, *more: str) -> Iterator[str]:
    """One sentence a function, with the calls that were awaited if those are known."""
    ran = Counter(x.name for x in timeline.calls)
    for name, times in Counter((*more, *timeline.never_awaited)).items():
        often = f" {times} times" if times > 1 else ""
        if ran[name]:
            were = "was" if times == 1 else "were"
            of = f"{times + ran[name]} calls of {name}"
            yield f"{times} of {of} {were} never awaited."
        else:
            yield f"{name} was called{often} and never awaited."


def _never_retrieved(timeline: Timeline) -> Iterator[str]:
    for name in timeline.never_retrieved:
        lane = timeline.lane(name)
        error = f" with {lane.outcome}" if lane else ""
        yield f"{name} failed{error}, and nobody looked at it."


def _left_over(timeline: Timeline) -> Iterator[str]:
    """Tasks still under way, one sentence for those of the same coroutine."""
    groups: dict[str, list[Lane]] = {}
    left = set(timeline.left_over)
    for lane in timeline.lanes:
        if lane.name in left:
            groups.setdefault(lane.coroutine or lane.name, []).append(lane)
    for lanes in groups.values():
        if len(lanes) == 1:
            yield f"{lanes[0].name} was still not done at the end."
        else:
            names = _listed([x.name for x in lanes])
            yield f"{len(lanes)} tasks were still not done at the end: {names}."


# --- waits one after another


def _one_after_another(timeline: Timeline) -> Iterator[str]:
    """Calls that nothing kept from being under way together (see `calls`)."""
    for chain in _chains(timeline.calls):
        numbers = [timeline.calls.index(x) for x in chain]
        total = sum(x.end - x.start for x in chain)
        least = _least(timeline.calls, numbers)
        if least < total - 1e-6 and _alone(timeline, chain):
            yield _in_words(timeline, chain, total, least)


def _chains(calls: tuple[Call, ...]) -> list[list[Call]]:
    """Calls each of which began at the moment when the one before had ended."""
    timed = sorted((x for x in calls if x.end > x.start), key=lambda x: x.start)
    chains = [[x] for x in timed[:1]]
    for one, other in pairwise(timed):
        if one.end == other.start:
            chains[-1].append(other)
        else:
            chains.append([other])
    return [x for x in chains if len(x) > 1]


def _least(calls: tuple[Call, ...], numbers: list[int]) -> float:
    """How long calls would take if each began when those it needs have ended."""
    ends: dict[int, float] = {}
    for number in numbers:
        begin = max((ends.get(x, 0.0) for x in calls[number].needs), default=0.0)
        ends[number] = begin + calls[number].end - calls[number].start
    return max(ends.values())


def _alone(timeline: Timeline, chain: list[Call]) -> bool:
    """Whether, at any time, only the caller was under way, and who waits for it."""
    parents = {x.name: x.parent for x in timeline.lanes}
    for call in chain:
        line, name = set(), call.lane
        while name is not None and name not in line:
            line.add(name)
            name = parents.get(name)
        if any(
            x.name not in line and x.born < call.end and x.ended > call.start
            for x in timeline.lanes
            if x.kind != SPAN
        ):
            return False
    return True


def _in_words(timeline: Timeline, chain: list[Call], total: float, least: float) -> str:
    tasks = {x.lane for x in chain} & {x.name for x in timeline.lanes if x.kind == TASK}
    longest = max(x.end - x.start for x in chain)
    where = chain[0].where if len({x.where for x in chain}) == 1 else ""
    took, short = f"{seconds(total)}, their sum", seconds(least)
    if len(tasks) == len(chain):
        made = f"You made {len(chain)} tasks, but awaited each before making the next"
        return f"{made}: {took}{_colon(where)}. All made first, they take {short}."
    number = NUMBERS[len(chain)] if len(chain) < len(NUMBERS) else str(len(chain))
    came = f"{number.capitalize()} waits came one after another and took {took}"
    if tasks:
        came += f", in spite of {many(len(tasks), 'task')}"
    side = "Side by side they take" if least == longest else "At best they take"
    why = ", the longest" if least == longest else ": not each needs the one before it"
    return f"{came}{_colon(where)}. {side} {short}{why}."


# --- words


def _colon(where: str) -> str:
    return f": {where}" if where else ""


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def seconds(time: float) -> str:
    """A length of time as "2.0 s", or with a second digit where it has one."""
    digits = f"{time:,.2f}"
    return f"{digits.removesuffix('0')} s"
