"""Run one answer in a kernel of its own, and judge what comes back.

`run` takes a job, gives an outcome, and needs nothing else: it is what is sent to the
workers of a cluster.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell, new_notebook

from lessons_support.grading import witness
from lessons_support.grading.box import NoBox
from lessons_support.grading.job import Job, Outcome
from lessons_support.grading.kernel import TOO_MUCH, BoxedKernel, Client, OrdinaryKernel

ANSWER_LIMIT, CHECK_LIMIT, WHOLE_LIMIT = 15, 60, 120
"""Seconds for a cell of the answer, for any other cell, and for a run."""

TRIES = 3
"""How often a run is made if a busy machine may have spoilt it."""

GLANCE = 0.5
"""Seconds between two looks at what a box uses."""

BEFORE = ("", "files", "before", "enter")
"""Cells at which it is not the answer's fault if a run ends."""

NEVER_ENDED = "did not end within {} s. Is there a loop without an end?"

OF_A_CELL = re.compile(r"\(\d+\.py, ")
"""So a syntax error names the cell that it is in."""

MOST_TEXT = 20_000
"""Characters of what a run printed that are kept."""


def run(job: Job) -> Outcome:
    """The outcome of a job. May be called in many threads at the same time."""
    return asyncio.run(outcome(job))


async def outcome(job: Job) -> Outcome:
    """The same on an event loop, which may make many runs at the same time.

    A run is made again if a busy machine may be why a claim fails, or no kernel starts.
    The best run counts. Two that agree are enough.
    """
    found: list[Outcome] = []
    while len(found) < TRIES:
        last = await _once(job)
        agrees = last.claims in [x.claims for x in found]
        found.append(last)
        all_hold = bool(last.claims) and last.held == len(last.claims)
        if agrees or all_hold or not (last.noisy or last.failed):
            break
    return max(found, key=lambda x: (not x.failed, x.held))


async def _once(job: Job) -> Outcome:
    with tempfile.TemporaryDirectory(
        prefix="grade-", ignore_cleanup_errors=True
    ) as folder:
        try:
            return await _Run(job, Path(folder)).made()
        except NoBox as error:
            return Outcome(failed=str(error))


class _Run:
    """One run of one job: its cells, by what they are for, and what came back."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job = job
        self.first, self.second = secrets.token_hex(16), secrets.token_hex(16)
        sources = self._sources()
        self.cells = {name: new_code_cell(x) for name, x in sources.items()}
        self.reached = ""
        self.kernel = BoxedKernel() if job.boxed else OrdinaryKernel(folder, folder)
        notebook = new_notebook(cells=list(self.cells.values()))
        settings = {"allow_errors": True, "raise_on_iopub_timeout": True}
        self.client = Client(notebook, self.kernel, **settings)
        self.begin = time.perf_counter()

    def _sources(self) -> dict[str, str]:
        job, report = self.job, f"_{self.second}['report']()"
        return {
            "files": _writing(job.files),
            **{f"before {x}": source for x, source in enumerate(job.before)},
            "enter": _sent(f"enter({self.first!r})"),
            **{f"answer {x}": cell.source for x, cell in enumerate(job.answer)},
            "arm": _sent(f"arm({self.second!r}, {job.asked!r})"),
            "check": job.check,
            "report": report,
            "canary": f"{job.frame}\n_{self.second}['again']()\n{job.check}",
            "report again": report,
        }

    @property
    def seconds(self) -> float:
        return round(time.perf_counter() - self.begin, 2)

    async def made(self) -> Outcome:
        """Run the cells, as far as they come; raises NoBox if it is not the answer."""
        ended = ""
        try:
            async with asyncio.timeout(WHOLE_LIMIT), self.client:
                await self._execute()
        except NoBox:
            raise
        except Exception as error:
            ended = self._why(error)
            if self.reached.partition(" ")[0] in BEFORE:
                told = f"The lesson's own cells did not run: {ended} {error}"
                raise NoBox(told.strip()) from error
        try:
            return self._judged(ended)
        except Exception as error:
            return Outcome(ended=self._why(error), seconds=self.seconds)

    async def _execute(self) -> None:
        watch = asyncio.create_task(self._watch())
        try:
            for number, (name, cell) in enumerate(self.cells.items()):
                if name == "canary" and not self._any_held():
                    break
                self.reached = name
                is_answer = name.startswith("answer")
                limit = ANSWER_LIMIT if is_answer else CHECK_LIMIT
                async with asyncio.timeout(limit):
                    await self.client.run(cell, number)
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        """End a box that uses too much."""
        while True:
            await asyncio.sleep(GLANCE)
            if why := self.kernel.excess():
                await self.client.end(why)

    def _why(self, error: Exception) -> str:
        """Why there is no complete verdict, in words."""
        if isinstance(error, CellTimeoutError):  # its messages no longer come
            return TOO_MUCH
        if isinstance(error, DeadKernelError):
            return self.client.ended_for or "It ended its kernel."
        if not isinstance(error, TimeoutError):
            return f"Its kernel sent what no kernel sends ({type(error).__name__})."
        if self.seconds >= WHOLE_LIMIT:
            return f"It was stopped after {WHOLE_LIMIT} s."
        if self.reached.startswith("answer"):
            return f"The answer's cell {NEVER_ENDED.format(ANSWER_LIMIT)}"
        return f"Run by its check, the answer {NEVER_ENDED.format(CHECK_LIMIT)}"

    # What came back.

    def _told(self, cell: str) -> dict[str, Any]:
        """What the witness published in a cell; {} if it did not, or others did."""
        number = self.first if cell == "enter" else self.second
        found = []
        for output in self.cells[cell].outputs:
            text = output.get("data", {}).get("text/plain", "")
            with suppress(ValueError):
                facts = json.loads(text)
                found += [facts] if facts.get("number") == number else []
        return found[0] if len(found) == 1 else {}

    def _claims(self) -> tuple[tuple[bool, str], ...]:
        told = self._told("report").get("claims", ())
        return tuple((holds is True, str(claim)) for holds, claim in told)

    def _any_held(self) -> bool:
        return any(holds for holds, _ in self._claims())

    def _judged(self, ended: str) -> Outcome:
        told, check = self._told("report"), self.cells["check"]
        if not told and not ended:
            ended = "It kept its check from being made."
        shown = [x.get("data", {}) for x in check.outputs]
        chart = next((x for x in shown if "image/png" in x), {})
        text = "".join(x.text for x in check.outputs if x.output_type == "stream")
        return Outcome(
            claims=self._claims(),
            ended=ended,
            suspect=self._suspect(told),
            notes=tuple(f"It wrote to or deleted {x}." for x in told.get("wrote", ())),
            chart="".join(str(chart.get("image/png", "")).split()),
            shown=self._in_words(chart),
            printed=text[:MOST_TEXT],
            error=self._error() or _error(check),
            seconds=self.seconds,
            noisy=told.get("noisy") is True,
        )

    def _in_words(self, chart: Any) -> str:
        """What the chart says, with the answer's cells called by a name, no number."""
        text = str(chart.get("text/plain", ""))[:MOST_TEXT]
        for number, name in enumerate(self.cells, 1):
            if name.startswith("answer"):
                text = text.replace(f"cell In[{number}]", "the answer")
        return text

    def _error(self) -> str:
        """The first error in the answer that was not meant to be there."""
        for number, cell in enumerate(self.job.answer):
            error = _error(self.cells[f"answer {number}"])
            if error and not cell.may_raise:
                return error
        return ""

    def _suspect(self, told: dict[str, Any]) -> str:
        if not told:
            return ""
        if liars := told.get("liars"):
            names = ", ".join(map(str, liars))
            return f"Its result decides itself what it is equal to (class {names})."
        if changed := self._changed(told):
            return changed
        again = self._told("report again").get("claims")
        if self._any_held() and (again is None or any(x for x, _ in again)):
            return "After it, claims hold without any answer."
        return ""

    def _changed(self, told: dict[str, Any]) -> str:
        """What it changed that a verdict rests on: sentences."""
        enter, arm = self._told("enter"), self._told("arm")
        before = enter["seal"]
        seals = (arm, arm["seal"]), (told, {**before, **told["seal"]})
        for found, after in seals:
            if changed := sorted(x for x in before if after.get(x) != before[x]):
                hooks = enter["hooks"], found["hooks"]
                of_cells = _of_cells(*hooks) if "IPython" in changed else ""
                return f"It changed {', '.join(changed[:5])}.{of_cells}"
        return ""


def _of_cells(before: dict[str, list[str]], after: dict[str, list[str]]) -> str:
    """What else IPython calls now when it runs a cell: sentences for a teacher."""
    new = [
        f"{name} ({place})"
        for place, names in after.items()
        for name in names
        if names.count(name) > before.get(place, []).count(name)
    ]
    if not new:
        return (
            " It no longer calls what it did when it runs a cell, or not in that way."
        )
    return (
        f" Now it calls {', '.join(dict.fromkeys(new[:5]))} when it runs a cell. That "
        "may be harmless, but could as well change the check."
    )


def _writing(files: tuple[tuple[str, str], ...]) -> str:
    """A cell that writes files."""
    return (
        "import pathlib\n"
        f"for name, text in {files!r}:\n"
        "    pathlib.Path(name).write_text(text, encoding='utf-8')\n"
        "del pathlib, name, text"
    )


def _sent(call: str) -> str:
    """A cell that brings the witness along, and calls one of its functions."""
    source = Path(witness.__file__).read_text(encoding="utf-8")
    return (
        "import builtins as _\n"
        f"(lambda names: (_.exec({source!r}, names), _.eval({call!r}, names))[1])({{}})"
    )


def _error(cell: Any) -> str:
    """The error that a cell ended with: its class and text, in one line."""
    for output in cell.outputs:
        if output.output_type == "error":
            text = f"{output.ename}: {output.evalue}".splitlines() or [""]
            return OF_A_CELL.sub("(the answer, ", text[0])[:300].removesuffix(": ")
    return ""
