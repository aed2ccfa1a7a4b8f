"""One run of the command `grade`: from folders of notebooks to a folder of feedback."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from lessons_support.grading import report
from lessons_support.grading.engine import Job, Outcome
from lessons_support.grading.grade import Broken, Grade, Store, Task, outcomes, prepared
from lessons_support.grading.lesson import lessons
from lessons_support.grading.submission import Answer, Misfit, Submission, find, read

NO_RUN = Outcome()
NOT_ATTEMPTED = "Not attempted: the answer cell is as shipped."


class Unusable(RuntimeError):
    """Nothing can be graded, and why: a sentence."""


@dataclass(frozen=True)
class Entry:
    """A learner's answer to one task, and whose run it is ("" for the course's)."""

    learner: str
    task: Task
    answer: Answer

    @property
    def shipped(self) -> bool:
        return self.answer.code.split() == self.task.exercise.frame.split()

    @property
    def run(self) -> tuple[Job, str]:
        if self.shipped:
            return self.task.job(self.task.exercise.frame), ""
        return self.task.job(self.answer.code), self.learner

    def grade(self, outcome: Outcome) -> Grade:
        notes = (*self.answer.notes, *([NOT_ATTEMPTED] if self.shipped else []))
        return Grade(self.learner, self.task, self.answer.code, outcome, notes)


@dataclass(frozen=True)
class Session:
    """Where it is written to, whether runs are boxed, and who makes them."""

    output: Path
    boxed: bool
    pool: Executor

    def grade(self, places: list[Path]) -> int:
        """Grade what is in these places; the exit code. Raises Unusable."""
        console = Console()
        submissions, misfits = _read(places)
        for sentence in misfits:
            console.print(sentence, style="red", markup=False, highlight=False)
        if not submissions:
            raise Unusable("There is nothing to grade.")
        try:
            store = Store(self.output / "runs")
            entries, found = self._run(submissions, store, console)
            learners = self._write(entries, found, store)
            report.write_all(self.output, learners, misfits)
        except OSError as error:
            raise Unusable(f"{self.output} cannot be written to: {error}.") from error
        except Broken as error:
            raise Unusable(str(error)) from error
        console.print(report.table(learners))
        console.print(f"Feedback is in {self.output}.", markup=False, highlight=False)
        return 1 if misfits or any(x.failed for x in found.values()) else 0

    def _run(
        self, submissions: list[Submission], store: Store, console: Console
    ) -> tuple[list[Entry], dict[int, Outcome]]:
        """What was asked for, and the outcome of each run, without its chart."""
        columns = "{task.description}", BarColumn(), MofNCompleteColumn()
        found = {}
        with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
            entries = list(self._entries(submissions, store, bar))
            line = bar.add_task("Answers", total=len(entries))
            runs = ((n, x.run) for n, x in enumerate(entries) if x.answer.code)
            for number, outcome in outcomes(runs, self.pool, store):
                found[number] = replace(outcome, chart="", shown="", printed="")
                bar.advance(line)
            bar.update(line, completed=len(entries))
        return entries, found

    def _entries(
        self, submissions: list[Submission], store: Store, bar: Progress
    ) -> Iterator[Entry]:
        """An entry for each exercise of each submission, once the course is proved."""
        tasks: dict[str, Task] = {}
        wanted = {x.lesson.name: x.lesson for x in submissions}.values()
        exercises = [(lesson, x) for lesson in wanted for x in lesson.exercises]
        for lesson, one in bar.track(exercises, description="The course itself"):
            tasks[one.name] = prepared(one, lesson, self.boxed, self.pool, store)
        for submission in submissions:
            for name, answer in submission.answers.items():
                yield Entry(submission.learner, tasks[name], answer)

    def _write(
        self, entries: list[Entry], found: dict[int, Outcome], store: Store
    ) -> dict[str, list[Grade]]:
        """Write the pages; the grades by learner, without their charts."""
        learners: dict[str, list[Grade]] = {}
        whole: dict[str, list[Entry]] = {}
        for number, entry in enumerate(entries):
            grade = entry.grade(found.get(number, NO_RUN))
            learners.setdefault(entry.learner, []).append(grade)
            whole.setdefault(entry.learner, []).append(entry)
        folders = {store.folder.name}
        for learner, theirs in whole.items():
            name = report.folder_name(learner, folders)
            folders.add(name.casefold())
            charted = [x.grade(store.get(*x.run) or NO_RUN) for x in theirs]
            report.write_learner(self.output / name, charted)
        return learners


def _read(places: list[Path]) -> tuple[list[Submission], list[str]]:
    """The submissions, each with a learner's name of its own, and what did not fit."""
    course = lessons()
    submissions: list[Submission] = []
    misfits: list[str] = []
    try:
        found = list(find(places))
    except Misfit as error:
        raise Unusable(str(error)) from None
    for path, root in dict.fromkeys(found):
        try:
            submissions.append(read(path, root, course))
        except Misfit as error:
            misfits.append(str(error))
    return list(_distinct(submissions)), misfits


def _distinct(submissions: list[Submission]) -> Iterator[Submission]:
    taken: set[tuple[str, str]] = set()
    for one in submissions:
        learner, number = one.learner, 2
        while (learner, one.lesson.name) in taken:
            learner, number = f"{one.learner} ({number})", number + 1
        taken.add((learner, one.lesson.name))
        yield replace(one, learner=learner)
