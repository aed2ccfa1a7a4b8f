"""Outcomes that are kept in a folder, so that no run is made twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from lessons_support.grading.grade import Task
from lessons_support.grading.job import Job, Outcome
from lessons_support.grading.lesson import Cell

Runner = Callable[[Job], Awaitable[Outcome]]
"""What makes a run: here, or on a cluster."""


class Store:
    """A folder of outcomes, and who makes those that are missing, a few at a time.

    An outcome's name changes with its job.
    """

    def __init__(self, folder: Path, runner: Runner, at_once: int) -> None:
        self.folder, self.runner = folder, runner
        self.places = asyncio.Semaphore(at_once)

    async def outcome(self, task: Task, *answer: Cell, owner: str = "") -> Outcome:
        """The outcome of a learner's answer; it is kept, unless it could not be run."""
        async with self.places:  # before there is a job: thousands may be in line
            job = task.job(*answer)
            place = self._place(job, owner)
            with suppress(OSError, ValueError, TypeError, KeyError):
                return Outcome.from_json(place.read_text(encoding="utf-8"))
            try:
                found = await self.runner(job)
            except Exception as error:  # a worker of a cluster was lost too often
                return Outcome(failed=f"{type(error).__name__}: {error}")
        if not found.failed:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = place.with_suffix(".part")  # whole or not at all
            draft.write_text(json.dumps(asdict(found)), encoding="utf-8")
            draft.replace(place)
        return found

    def _place(self, job: Job, owner: str) -> Path:
        key = json.dumps(asdict(job)) + owner
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
