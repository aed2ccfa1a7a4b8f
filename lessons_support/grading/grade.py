"""From answers to grades: which runs there are, and what their outcomes are worth."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lessons_support.grading.engine import Job, Outcome, packed, run, unpacked
from lessons_support.grading.lesson import Exercise, Lesson
from lessons_support.grading.submission import printable

AT_ONCE = 64
"""How many jobs are handed over at a time, so that memory does not grow with them."""


class Broken(RuntimeError):
    """The course itself does not work on this machine, or has no box here."""


@dataclass(frozen=True)
class Task:
    """An exercise of a lesson, with the claims that its check makes.

    ``before`` are the cells that every answer to it builds on.
    """

    lesson: Lesson
    exercise: Exercise
    before: tuple[str, ...]
    boxed: bool
    claims: tuple[str, ...] = ()

    def job(self, answer: str) -> Job:
        """The run of an answer."""
        one = self.exercise
        sources = (self.before, one.frame, one.check, one.asked, self.lesson.files)
        return Job(*sources, answer, self.boxed)


@dataclass(frozen=True)
class Grade:
    """What one learner got for one exercise."""

    learner: str
    task: Task
    answer: str
    outcome: Outcome
    notes: tuple[str, ...] = ()

    @property
    def held(self) -> int:
        """How many of the claims hold, if they are those of the course's check."""
        theirs = {claim for holds, claim in self.outcome.claims if holds}
        return sum(claim in theirs for claim in self.task.claims)

    @property
    def asked(self) -> int:
        return len(self.task.claims)

    @property
    def points(self) -> int:
        """A point for each claim that holds; none if there is reason to doubt them."""
        return 0 if self.outcome.suspect else self.held

    @property
    def note(self) -> str:
        """All that a teacher should know, in sentences."""
        told, parts = self.outcome, list(self.notes)
        if told.suspect:
            parts.append(f"Suspect: {told.suspect} Look at the answer.")
        if told.failed:
            parts.append(f"Not graded: {told.failed}")
        if told.error:
            parts.append(f"The answer ends with {told.error}.")
        return printable(" ".join(filter(None, [*parts, told.ended, *told.notes])))


class Store:
    """Outcomes that are kept in a folder, so that no run is made twice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def place(self, job: Job, owner: str) -> Path:
        """Where the outcome of a learner's job is kept: it changes with the job."""
        name = hashlib.sha256(packed(job) + owner.encode()).hexdigest()[:32]
        return self.folder / f"{name}.json"

    def get(self, job: Job, owner: str) -> Outcome | None:
        with suppress(OSError, ValueError, TypeError):
            return unpacked(Outcome, self.place(job, owner).read_bytes())
        return None

    def put(self, job: Job, owner: str, outcome: Outcome) -> None:
        """Keep an outcome, whole or not at all."""
        place = self.place(job, owner)
        draft = place.with_suffix(".part")
        draft.write_bytes(packed(outcome))
        draft.replace(place)


def prepared(
    exercise: Exercise, lesson: Lesson, boxed: bool, pool: Executor, store: Store
) -> Task:
    """The task of an exercise, proved: its solution holds all, its frame nothing.

    First only the cells that define are put before it, which is quick; if then the
    proof fails, all cells above. Raises Broken if it fails even so.
    """
    for before in (("\n\n\n".join(exercise.defining),), exercise.above):
        task = Task(lesson, exercise, before, boxed)
        jobs = [(x, (task.job(x), "")) for x in (exercise.solution, exercise.frame)]
        found = dict(outcomes(jobs, pool, store))
        solved, shipped = found[exercise.solution], found[exercise.frame]
        if _proves(solved, shipped):
            return replace(task, claims=tuple(claim for _, claim in solved.claims))
    why = solved.failed or shipped.failed or solved.ended or solved.error
    raise Broken(
        f"{lesson.name}: the course's own solution of exercise {exercise.name} does "
        f"not pass here, so no answer can be judged. {why or solved.suspect}".rstrip()
    )


def _proves(solved: Outcome, shipped: Outcome) -> bool:
    if solved.suspect or solved.ended or shipped.ended or shipped.held:
        return False
    return bool(solved.claims) and solved.held == len(solved.claims)


def outcomes(
    jobs: Iterable[tuple[Any, tuple[Job, str]]], pool: Executor, store: Store
) -> Iterator[tuple[Any, Outcome]]:
    """The outcome of each job with its key, as they come. A few are under way at once.

    What could not be run at all has an outcome that says so, and is not kept.
    """
    under_way: dict[Future[bytes], tuple[Any, Job, str]] = {}
    for key, (job, owner) in jobs:
        if (kept := store.get(job, owner)) is not None:
            yield key, kept
            continue
        if len(under_way) >= AT_ONCE:
            yield from _ended(under_way, store)
        under_way[pool.submit(run, packed(job))] = key, job, owner
    while under_way:
        yield from _ended(under_way, store)


def _ended(
    under_way: dict[Future[bytes], tuple[Any, Job, str]], store: Store
) -> Iterator[tuple[Any, Outcome]]:
    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
    for future in done:
        key, job, owner = under_way.pop(future)
        try:
            outcome = unpacked(Outcome, future.result())
        except Exception as error:  # a worker of a cluster was lost too often
            outcome = Outcome(failed=f"{type(error).__name__}: {error}")
        if not outcome.failed:
            store.put(job, owner, outcome)
        yield key, outcome
