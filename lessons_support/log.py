"""What a watch notes of one loop.

The notes are flat lists of numbers, because they are taken thousands of times a second:

* ``steps``: four items for each thing that ran on the loop: the number of the task
  (None for a plain callback), begin, end, and what came after. For a task that is what
  it waits for; for a callback, what had caused it: a deadline and a word or a task.
* ``wakes``: two items for each task made ready: its number, and when.

Times are seconds of `time.perf_counter`. A `Reader` makes lanes of the notes after the
recording, when that no longer disturbs anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import ref

from lessons_support.sampler import Place
from lessons_support.timeline import PENDING

AGAIN, ENDED, FUTURE = None, False, "future"
"""What comes after a step, besides a task's number and the code that waits."""

NAMED_BY_ASYNCIO = re.compile(r"Task-\d+|None")
"""Names that no program gave; Python 3.13.0 names a task factory's tasks "None"."""


@dataclass(slots=True)
class Life:
    """What is known of one task while it is watched; the task itself is not kept.

    A task that handles a request is as good as over once that has been ``answered``:
    whoever asked may go on before the task has taken its last step.
    """

    coroutine: str
    parent: int | None
    born: float
    hidden: bool = False
    name: str = ""
    ended: float | None = None
    outcome: str = PENDING
    task: ref[Any] | None = None
    answered: float | None = None

    def over(self, when: float) -> bool:
        """Whether it had ended, or its request had been answered, by then."""
        return any(x is not None and x <= when for x in (self.ended, self.answered))

    @property
    def label(self) -> str:
        """The name that the program gave, or else the coroutine's."""
        given = self.name and not NAMED_BY_ASYNCIO.fullmatch(self.name)
        return self.name if given else self.function

    @property
    def function(self) -> str:
        """The coroutine's name without the function that it was defined in."""
        return self.coroutine.rpartition("<locals>.")[2]


@dataclass(slots=True)
class Log:
    """The notes on one loop.

    ``blocks`` are the steps over 50 ms, with the line that blocked; ``unseen`` are the
    tasks whose exception nobody had looked at when they were thrown away.
    """

    steps: list[Any] = field(default_factory=list)
    wakes: list[Any] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    blocks: list[tuple[int | None, float, float, Place | None]] = field(
        default_factory=list
    )
    unseen: list[int] = field(default_factory=list)


@dataclass(slots=True)
class View:
    """What one recording sees of a log: its steps so far, and the one under way.

    ``block`` is the task that runs the recording's block, ``running`` the task and the
    begin of the step under way, ``blocks`` and ``unseen`` as in `Log`.
    """

    log: Log
    upto: int
    block: int | None
    running: tuple[int | None, float]
    blocks: list[tuple[int | None, float, float, Place | None]]
    unseen: list[int]


@dataclass(slots=True)
class Stretch:
    """A span: its task is ``lane`` of ``log``, if it began inside one."""

    name: str
    start: float = 0.0
    end: float | None = None
    outcome: str = PENDING
    log: Log | None = None
    lane: int | None = None


class Words(NamedTuple):
    """What was written to a stream at once, often less than a line."""

    at: float
    thread: int
    log: Log | None
    lane: int | None
    text: str
