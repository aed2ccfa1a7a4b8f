"""What answers are worth: an exercise with its claims, and a learner's grade for it."""

from __future__ import annotations

from dataclasses import dataclass

from lessons_support.grading.job import Job, Outcome
from lessons_support.grading.lesson import Cell, Exercise, Lesson
from lessons_support.grading.submission import printable

NOT_ATTEMPTED = "Not attempted: the answer cell is as shipped."


@dataclass(frozen=True)
class Task:
    """An exercise of a lesson, and the claims that its check makes.

    An answer is run below the cells that it needs, or below all cells above.
    """

    lesson: Lesson
    exercise: Exercise
    boxed: bool = True
    below_all: bool = False
    claims: tuple[str, ...] = ()

    def job(self, *answer: Cell) -> Job:
        """The run of an answer, cell by cell."""
        one, code = self.exercise, "\n\n".join(x.source for x in answer)
        before = one.above if self.below_all else (one.needed(code),)
        sources = before, one.frame, one.check, one.asked, self.lesson.files
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
        """How many claims of the course's check hold."""
        theirs = {claim for holds, claim in self.outcome.claims if holds}
        return sum(claim in theirs for claim in self.task.claims)

    @property
    def claims(self) -> list[tuple[str, bool]]:
        """Each of those claims, and whether it counts: none if there is doubt."""
        counts = not self.outcome.suspect
        held = {claim for holds, claim in self.outcome.claims if holds and counts}
        return [(claim, claim in held) for claim in self.task.claims]

    @property
    def points(self) -> int:
        """A point for each claim that counts as held."""
        return sum(holds for _, holds in self.claims)

    @property
    def asked(self) -> int:
        return len(self.task.claims)

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
        if told.error.startswith("MemoryError"):
            parts.append("It wanted more memory than there is for it.")
        return printable(" ".join(filter(None, [*parts, told.ended, *told.notes])))
