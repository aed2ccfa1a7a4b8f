"""Run one answer in a kernel of its own, and judge what comes back.

`run` takes a job and gives an outcome, both as bytes, and needs nothing else: it is
called by threads here, and sent to the workers of a cluster.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import secrets
import tempfile
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from nbclient.exceptions import CellTimeoutError, DeadKernelError

from lessons_support.grading import box, witness
from lessons_support.grading.kernel import TOO_MUCH, Listener, Template, listener
from lessons_support.grading.lesson import imported, lessons

T = TypeVar("T")

ANSWER_LIMIT, CHECK_LIMIT, WHOLE_LIMIT = 15, 60, 120
"""Seconds for the answer's cell, for any other cell, and for a run."""

TRIES = 3
"""How often a run is made if a busy machine may have spoilt it."""

GLANCE = 0.5
"""Seconds between two looks at what the boxes use."""

MOST_TEXT = 20_000
"""Characters of what a run printed that are kept."""


class NoCluster(RuntimeError):
    """There is no cluster, and why: a sentence."""


@dataclass(frozen=True)
class Job:
    """An answer and all that its run needs: sources of cells, names and files."""

    before: tuple[str, ...]
    frame: str
    check: str
    asked: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    answer: str
    boxed: bool = True


@dataclass(frozen=True)
class Outcome:
    """What a run gave: each claim and whether it holds, in order, and the reasons.

    ``ended`` says why there is no complete verdict, ``suspect`` why it counts for
    nothing, ``notes`` what else a teacher should know. ``chart`` is a PNG in base64,
    ``shown`` its words, ``printed`` what the check printed, ``error`` an error's
    name and text. ``failed`` says why there was no run at all: it was not the answer.
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


def packed(data: Any) -> bytes:
    """A job or an outcome as bytes, for another process."""
    return json.dumps(asdict(data)).encode()


def unpacked(kind: type, data: bytes) -> Any:
    """A job or an outcome, from bytes."""
    fields = json.loads(data)
    return kind(**{name: _frozen(value) for name, value in fields.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def run(job: bytes) -> bytes:
    """The outcome of a job. May be called from many threads at the same time."""
    return packed(Engine.here().run(unpacked(Job, job)))


class Engine:
    """An event loop in a thread, and the kernels that it runs."""

    _here: Engine | None = None
    _lock = threading.Lock()

    @classmethod
    def here(cls) -> Engine:
        """The engine of this process; it is started when it is first needed."""
        with cls._lock:
            if cls._here is None:
                cls._here = cls()
            return cls._here

    def __init__(self) -> None:
        # In a thread, nbclient leaves SIGINT and SIGTERM to whom they belong.
        self.loop = asyncio.new_event_loop()
        # nbclient leaves a task behind for each kernel that dies.
        self.loop.set_exception_handler(lambda loop, context: None)
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.template: Template | None = None
        self.managers: set[Any] = set()
        self.watch = asyncio.run_coroutine_threadsafe(self._watch(), self.loop)

    def run(self, job: Job) -> Outcome:
        """Run a job; again if a claim fails and a busy machine may be why.

        The best run counts. Two that agree are enough.
        """
        best = self._try(job)
        if best.failed:  # for once
            best = self._try(job)
        for _ in range(TRIES - 1):
            if best.failed or not best.noisy or all(x for x, _ in best.claims):
                break
            last, best = best, max(best, self._try(job), key=lambda x: x.held)
            if best.claims == last.claims:
                break
        return best

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives, run on the engine's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def _try(self, job: Job) -> Outcome:
        try:
            return self.wait(self._run(job))
        except box.NoBox as error:
            return Outcome(failed=str(error))

    def close(self) -> None:
        """End all kernels, and the templates."""
        Engine._here = None
        self.wait(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self.template is not None:
            self.template.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(GLANCE)
            boxes = {x.provisioner.box: x for x in self.managers if _is_boxed(x)}
            if boxes:
                excess = await asyncio.to_thread(box.excess, list(boxes))
                for one, why in excess.items():
                    await boxes[one].end(why)

    async def _run(self, job: Job) -> Outcome:
        if job.boxed and self.template is None:
            self.template = Template(imported(lessons().values()))
        template = self.template if job.boxed else None
        # Not in threads: a run that is cancelled must not lose sight of its folder.
        with tempfile.TemporaryDirectory(
            prefix="grade-", ignore_cleanup_errors=True
        ) as folder:
            Path(folder, "work").mkdir()
            return await _Run(job, Path(folder), template, self.managers).made()


def _is_boxed(manager: Any) -> bool:
    space = getattr(manager.provisioner, "box", None)
    return space is not None and space.is_open()


class _Run:
    """One run of one job."""

    def __init__(
        self, job: Job, folder: Path, template: Template | None, managers: set[Any]
    ) -> None:
        self.job, self.managers = job, managers
        self.first, self.second = secrets.token_hex(16), secrets.token_hex(16)
        self.cells = self._cells()
        limits = [ANSWER_LIMIT if x == "answer" else CHECK_LIMIT for x in self.cells]
        self.client: Listener = listener(
            list(self.cells.values()), folder, template, limits
        )
        self.manager = self.client.km
        self.reached = ""

    def _cells(self) -> dict[str, str]:
        job, name = self.job, f"_{self.second}"
        return {
            "files": _files(job.files),
            **{f"before {x}": source for x, source in enumerate(job.before)},
            "enter": _sent(f"enter({self.first!r})"),
            "answer": job.answer,
            "arm": _sent(f"arm({self.second!r}, {job.asked!r})"),
            "check": job.check,
            "report": f"{name}['report']()",
            "canary": f"{job.frame}\n{name}['again']()\n{job.check}",
            "report again": f"{name}['report']()",
        }

    async def made(self) -> Outcome:
        begin = time.perf_counter()
        ended = ""
        try:
            async with asyncio.timeout(WHOLE_LIMIT):
                await self._execute()
        except CellTimeoutError as error:
            ended = self._too_long(str(error))
        except TimeoutError:
            ended = f"It was stopped after {WHOLE_LIMIT} s."
        except DeadKernelError:
            ended = self.manager.ended_for or "It ended its kernel."
        except (box.NoBox, asyncio.CancelledError):
            raise
        except Exception as error:
            if not self.reached:
                raise box.NoBox(f"No kernel could be started: {error}") from error
            ended = f"Its kernel sent what no kernel sends ({type(error).__name__})."
        outcome = self._judged(ended)
        return replace(outcome, seconds=round(time.perf_counter() - begin, 2))

    async def _execute(self) -> None:
        self.managers.add(self.manager)
        try:
            async with self.client.async_setup_kernel(cleanup_kc=True):
                for number, name in enumerate(self.cells):
                    if name == "canary" and not self._claims():
                        break
                    self.reached = name
                    await self.client.async_execute_cell(self._cell(name), number)
        finally:
            self.managers.discard(self.manager)
            # It stays registered if the run is cancelled, and fails at the exit.
            atexit.unregister(self.client._cleanup_kernel)
            await self.manager.let_go()

    def _cell(self, name: str) -> Any:
        return self.client.nb.cells[list(self.cells).index(name)]

    def _too_long(self, error: str) -> str:
        if "IOPub" in error:  # the connection was cut
            return TOO_MUCH
        if self.reached == "answer":
            return f"The answer's cell did not end within {ANSWER_LIMIT} s."
        return f"Its check did not end within {CHECK_LIMIT} s."

    # What came back.

    def _told(self, cell: str, number: str) -> dict[str, Any]:
        """What the witness published in a cell; {} if it did not, or others did."""
        found = []
        for output in self._cell(cell).get("outputs", ()):
            text = output.get("data", {}).get("text/plain", "")
            with suppress(ValueError):
                facts = json.loads(text)
                found += [facts] if facts.get("number") == number else []
        return found[0] if len(found) == 1 else {}

    def _claims(self) -> tuple[tuple[bool, str], ...]:
        told = self._told("report", self.second).get("claims", ())
        return tuple((holds is True, str(claim)) for holds, claim in told)

    def _judged(self, ended: str) -> Outcome:
        told, check = self._told("report", self.second), self._cell("check")
        if self.reached.startswith(("files", "before", "enter")):
            raise box.NoBox(f"The lesson's own cells did not run: {ended}")
        if not told and not ended:
            ended = "It kept its check from being made."
        chart = next((x.data for x in _data(check) if "image/png" in x.data), {})
        text = "".join(x.text for x in check.outputs if x.output_type == "stream")
        return Outcome(
            claims=self._claims(),
            ended=ended,
            suspect=self._suspect(told),
            notes=tuple(f"It changed the file {x}." for x in told.get("wrote", ())),
            chart="".join(str(chart.get("image/png", "")).split()),
            shown=self._in_words(chart),
            printed=text[:MOST_TEXT],
            error=self._error(),
            noisy=told.get("noisy") is True,
        )

    def _in_words(self, chart: Any) -> str:
        """What the chart says, with the answer's cell called by a name, no number."""
        number = list(self.cells).index("answer") + 1
        text = str(chart.get("text/plain", ""))[:MOST_TEXT]
        return text.replace(f"cell In[{number}]", "the answer")

    def _error(self) -> str:
        """The first error that is not a lesson's own demonstration."""
        shown = ["answer", "check"]
        if len(self.job.before) == 1:  # cells that define
            shown.insert(0, "before 0")
        return next(filter(None, (_error(self._cell(x)) for x in shown)), "")

    def _suspect(self, told: dict[str, Any]) -> str:
        before = self._told("enter", self.first)
        if not told:
            return ""
        if liars := told.get("liars"):
            names = ", ".join(map(str, liars))
            return f"Its result decides itself what it is equal to (class {names})."
        if changed := told.get("changed"):
            return f"It changed {', '.join(map(str, changed))}."
        if before.get("seal") != told.get("seal"):
            return "It changed what a check rests on."
        if not self._claims() or not any(x for x, _ in self._claims()):
            return ""
        again = self._told("report again", self.second)
        held = [str(claim) for holds, claim in again.get("claims", ()) if holds]
        if held or not again:
            return "After it, claims hold without any answer."
        return ""


def _files(files: tuple[tuple[str, str], ...]) -> str:
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


def _data(cell: Any) -> list[Any]:
    kinds = ("display_data", "execute_result")
    return [x for x in cell.outputs if x.output_type in kinds]


def _error(cell: Any) -> str:
    """The error that a cell ended with: its class and text, in one line."""
    for output in cell.outputs:
        if output.output_type == "error":
            text = f"{output.ename}: {output.evalue}".splitlines() or [""]
            return text[0][:300].removesuffix(": ")
    return ""
