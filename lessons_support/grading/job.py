"""What a run is asked for, and what it gives: plain data."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lessons_support.grading.lesson import Cell


@dataclass(frozen=True)
class Job:
    """An answer and all that its run needs: sources of cells, names and files."""

    before: tuple[str, ...]
    frame: str
    check: str
    asked: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    answer: tuple[Cell, ...]
    boxed: bool = True


@dataclass(frozen=True)
class Outcome:
    """What a run gave: each claim and whether it holds, in order, and the reasons.

    ``ended`` says why there is no complete verdict, ``suspect`` why it counts for
    nothing, ``notes`` what else a teacher should know. ``chart`` is a PNG in base64,
    ``shown`` its words, ``printed`` what the check printed, ``error`` an error's
    name and text. ``noisy`` is what a busy machine may spoil. ``failed`` says why there
    was no run at all: it was not the answer.
    """

    claims: tuple[tuple[bool, str], ...] = ()
    ended: str = ""
    suspect: str = ""
    notes: tuple[str, ...] = ()
    chart: str = ""
    shown: str = ""
    printed: str = ""
    error: str = ""
    seconds: float = 0.0
    noisy: bool = False
    failed: str = ""

    @property
    def held(self) -> int:
        return sum(holds for holds, _ in self.claims)

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """What json.dumps has made of an outcome's dictionary, or ValueError."""
        fields = json.loads(text)
        fields["claims"] = tuple((holds, claim) for holds, claim in fields["claims"])
        return cls(**fields | {"notes": tuple(fields["notes"])})
