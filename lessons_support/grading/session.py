"""One run of the command `grade`: from folders of notebooks to a folder of feedback."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from lessons_support.grading import report
from lessons_support.grading.answer import Answer
from lessons_support.grading.grade import NOT_ATTEMPTED, Grade, Task
from lessons_support.grading.job import Outcome
from lessons_support.grading.lesson import Cell, Exercise, Lesson
from lessons_support.grading.store import Store
from lessons_support.grading.submission import (
    Misfit,
    Submission,
    printable,
    read_all,
)

MOST_FINDINGS = 2_000
"""Characters of an answer's findings that are kept for what is about all learners."""


class Unusable(RuntimeError):
    """Nothing can be graded, and why: a sentence."""


@dataclass(frozen=True)
class Session:
    """Where it is written to, whether runs are boxed, and what makes them."""

    output: Path
    boxed: bool
    store: Store
    console: Console

    async def grade(self, places: list[Path]) -> int:
        """Grade what is in these places; the exit code. Raises Unusable."""
        submissions, misfits = read_all(places, self.output)
        for misfit in misfits:
            self._say(str(misfit), style="red")
        if not submissions:
            raise Unusable("There is nothing to grade.")
        columns = "{task.description}", BarColumn(), MofNCompleteColumn()
        with Progress(*columns, TimeRemainingColumn(), console=self.console) as bar:
            tasks = await self._prove(
                {x.lesson.name: x.lesson for x in submissions}, bar
            )
            learners = await self._judge(submissions, tasks, misfits, bar)
        report.write_all(self.output, learners, misfits)
        self.console.print(report.table(learners))
        for misfit in misfits:  # again: the first time is far above by now
            self._say(str(misfit), style="red")
        self._say(f"Points: {self.output / 'totals.csv'}")
        self._say(f"A page for each learner: {self.output / 'LEARNER/feedback.html'}")
        failed = any(y.outcome.failed for x in learners.values() for y in x)
        return 1 if misfits or failed else 0

    def _say(self, sentence: str, style: str | None = None) -> None:
        options = {"style": style, "markup": False, "highlight": False}
        self.console.print(printable(sentence), **options)

    async def _prove(
        self, lessons: dict[str, Lesson], bar: Progress
    ) -> dict[str, Task]:
        """The task of each exercise, by name."""
        wanted = [(x, one) for x in lessons.values() for one in x.exercises]
        line = bar.add_task("The course itself", total=len(wanted))

        async def prove(lesson: Lesson, exercise: Exercise) -> tuple[str, Task]:
            task = await proved(Task(lesson, exercise, self.boxed), self.store)
            bar.advance(line)
            return exercise.name, task

        return dict(await asyncio.gather(*(prove(*x) for x in wanted)))

    async def _judge(
        self,
        submissions: list[Submission],
        tasks: dict[str, Task],
        misfits: list[Misfit],
        bar: Progress,
    ) -> dict[str, list[Grade]]:
        """Grade all: the grades of each learner."""
        theirs: dict[str, list[tuple[Task, Answer]]] = {}
        for one in submissions:
            found = [(tasks[name], answer) for name, answer in one.answers.items()]
            theirs.setdefault(one.learner, []).extend(found)
        line = bar.add_task("Answers", total=sum(map(len, theirs.values())))
        folders = report.folder_names(theirs, self.store.folder.name)
        advance = partial(bar.advance, line)
        lost = {x: [y for y in misfits if y.learner == x] for x in theirs}
        grades = await asyncio.gather(
            *(self._learner(x, theirs[x], lost[x], folders[x], advance) for x in theirs)
        )
        if len(theirs) == 1:  # Gradescope wants a folder with one learner only
            shutil.copy(
                self.output / folders.popitem()[1] / "results.json", self.output
            )
        return dict(zip(theirs, grades, strict=True))

    async def _learner(
        self,
        learner: str,
        theirs: list[tuple[Task, Answer]],
        lost: list[Misfit],
        folder: str,
        advance: Callable[[], None],
    ) -> list[Grade]:
        """Grade one learner, and write the page as soon as all is there.

        What comes back has findings only: memory must not grow with the learners.
        """

        async def grade(task: Task, answer: Answer) -> Grade:
            found = await self._grade(learner, task, answer)
            advance()
            return found

        grades = await asyncio.gather(*(grade(*x) for x in theirs))
        report.write_learner(self.output / folder, grades, lost)
        return [replace(x, outcome=_in_short(x)) for x in grades]

    async def _grade(self, learner: str, task: Task, answer: Answer) -> Grade:
        frame, outcome, notes = task.exercise.frame, Outcome(), answer.notes
        if task.exercise.is_frame(answer.code):
            outcome = await self.store.outcome(task, Cell("code", frame))
            outcome = replace(outcome, chart="", shown="", printed="")
            notes = (*notes, NOT_ATTEMPTED)
        elif answer.cells:
            outcome = await self.store.outcome(task, *answer.cells, owner=learner)
            notes = (*notes, *answer.missed_by(outcome))
        return Grade(learner, task, answer.code, outcome, notes)


def _in_short(grade: Grade) -> Outcome:
    told = "\n".join(report.findings(grade))[:MOST_FINDINGS]
    return replace(grade.outcome, chart="", shown=told, printed="")


async def proved(task: Task, store: Store) -> Task:
    """A task with its claims, proved: its solution holds them all, its frame none.

    The frame is judged in the same run, as after any answer. If that fails below the
    cells that an answer needs, all cells above are run. Raises Unusable if it fails
    even so.
    """
    one = task.exercise
    for below_all in False, True:
        task = replace(task, below_all=below_all)
        solved = await store.outcome(task, Cell("code", one.solution))
        if _proves(solved):
            return replace(task, claims=tuple(claim for _, claim in solved.claims))
    why = solved.failed or solved.ended or solved.error
    raise Unusable(
        f"{task.lesson.name}: the course's own solution of exercise {one.name} does "
        f"not pass here, so no answer can be judged. {why or solved.suspect}".rstrip()
    )


def _proves(solved: Outcome) -> bool:
    if solved.suspect or solved.ended:
        return False
    return bool(solved.claims) and solved.held == len(solved.claims)
