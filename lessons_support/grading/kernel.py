"""Kernels for runs: boxed and forked from a warm template, or ordinary ones."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq.asyncio
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.session import Session
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from lessons_support.grading.box import SOCKETS, Box, NoBox
from lessons_support.grading.lesson import imports, lessons
from lessons_support.grading.template import ENVIRONMENT, PORTS, STATE

START_LIMIT, IOPUB_LIMIT = 60, 8
"""Seconds until a kernel answers, and until all of a cell's output has come."""

MOST_SHOWN, MOST_MESSAGES = 2_000_000, 5_000
"""Characters of output, and messages with output, after which a run is ended."""

LARGEST_MESSAGE = 4_000_000
"""Bytes. Whoever sends more is cut off."""

CACHES = ("HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
"""Variables from which matplotlib knows where it keeps what it found out."""

TOO_MUCH = "It printed too much."


class Template:
    """The warm process that kernels are forked from; it is started when needed."""

    process: subprocess.Popen[bytes] | None = None

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def fork(self, box: Box, key: str) -> int:
        """Put a kernel into a box; its process number. Raises NoBox."""
        wanted = json.dumps({"box": box.inside, "key": key})
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                self._start()
            pid = 0
            with suppress(OSError):
                print(wanted, file=self.lines, flush=True)
                pid = int(self.lines.readline() or 0)
        if pid == 0:
            raise NoBox("A kernel could not be put into its box.")
        return pid

    def _start(self) -> None:
        exercises = [y for x in lessons().values() for y in x.exercises]
        cells = {x for one in exercises for x in one.above}
        statements = sorted({x for cell in cells for x in imports(cell)})
        caches = {x: os.environ[x] for x in CACHES if x in os.environ}
        ours, its = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lessons_support.grading.template", *statements],
            stdin=its,
            stdout=subprocess.DEVNULL,
            cwd="/",
            # Forks inherit its memory, so of ours only goes in where the fonts are.
            env={x: y for x, y in ENVIRONMENT.items() if x not in CACHES} | caches,
            start_new_session=True,  # Ctrl-C is for the grader, who then ends it
        )
        its.close()
        self.lines = ours.makefile("rw")
        ours.close()

    def close(self) -> None:
        """End it. It would be started again."""
        if self.process is not None:
            self.lines.close()
            self.process.kill()
            self.process.wait()
            self.process = None


TEMPLATE = Template()
atexit.register(TEMPLATE.close)


class BoxedKernel:
    """One kernel in a box of its own, forked from the template."""

    box: Box | None = None
    alive: int | None = None

    async def open(self) -> AsyncKernelClient:
        """Make a box, fork a kernel into it, wait until it listens. Raises NoBox."""
        session = Session(key=secrets.token_hex().encode())
        await asyncio.to_thread(self._fork, session.key.decode())
        state = self.box.root / STATE[1:]
        while not state.exists():
            if not self.is_alive():
                raise NoBox("A kernel ended at once.")
            await asyncio.sleep(0.005)
        if why := state.read_text():
            raise NoBox(f"A kernel did not start. {why}")
        context = zmq.asyncio.Context()
        context.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        place = {"transport": "ipc", "ip": f"{self.box.root}{SOCKETS}/k"}
        client = _Channels(context=context, session=session, **place, **PORTS)
        client.kernel = self
        client.start_channels(hb=False)  # it takes a thread, and says less
        return client

    def _fork(self, key: str) -> None:
        self.box = Box()
        pid = TEMPLATE.fork(self.box, key)
        with suppress(ProcessLookupError):
            self.alive = os.pidfd_open(pid)

    def is_alive(self) -> bool:
        if self.alive is None or not self.box.is_open():
            return False
        return not select.select([self.alive], [], [], 0)[0]

    def excess(self) -> str:
        """Of what it uses too much: a sentence, or ""."""
        return self.box.excess()

    async def close(self) -> None:
        """End it, and all that it has started. It may be closed twice."""
        if self.box is not None:
            await asyncio.to_thread(self.box.close)
        if self.alive is not None:
            os.close(self.alive)
            self.alive = None


class _Channels(AsyncKernelClient):
    kernel: BoxedKernel

    async def _async_is_alive(self) -> bool:
        return self.kernel.is_alive()

    is_alive = _async_is_alive


class OrdinaryKernel:
    """One kernel as any program starts it, that runs in a folder of this machine.

    Its sockets are below another: kernels side by side race for TCP ports.
    """

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.folder = folder
        self.manager = AsyncKernelManager(
            kernel_name="python3",
            transport="ipc" if os.name == "posix" else "tcp",
            connection_file=str(sockets / "kernel.json"),
        )

    async def open(self) -> AsyncKernelClient:
        await self.manager.start_kernel(cwd=str(self.folder))
        client = self.manager.client()
        client.start_channels()
        return client

    def excess(self) -> str:
        """Nobody looks after it."""
        return ""

    async def close(self) -> None:
        if self.manager.has_kernel:
            await self.manager.shutdown_kernel(now=True)


class Client(NotebookClient):
    """nbclient's client, of a kernel that is ended if it shows too much.

    It neither starts kernels nor catches signals: ``async with Client(…, kernel)``.
    """

    shown = messages = 0
    ended_for = ""

    def __init__(self, notebook: Any, kernel: Any, **settings: Any) -> None:
        shared = {"iopub_timeout": IOPUB_LIMIT, "coalesce_streams": True}
        super().__init__(notebook, record_timing=False, **shared, **settings)
        self.kernel = kernel

    async def __aenter__(self) -> Client:
        try:
            self.kc = await self.kernel.open()
            await self.kc.wait_for_ready(timeout=START_LIMIT)
        except BaseException:
            await self.__aexit__()
            raise
        self.kc.allow_stdin = False
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kernel.close()
        if self.kc is not None:
            self.kc.stop_channels()
            self.kc.context.destroy(linger=0)  # all sockets, also forgotten ones

    async def end(self, why: str) -> None:
        """End the kernel now, and note why."""
        self.ended_for = why
        await self.kernel.close()

    async def run(self, cell: Any, number: int, **settings: Any) -> None:
        """Execute a cell. nbclient takes a task that is cancelled for a dead kernel."""
        try:
            await self.async_execute_cell(cell, number, **settings)
        except DeadKernelError:
            if asyncio.current_task().cancelling():
                raise asyncio.CancelledError from None
            raise

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        content = msg["content"]
        self.shown += len(content.get("text", "")) + len(str(content.get("data", "")))
        self.messages += msg["msg_type"] != "status"
        if self.shown > MOST_SHOWN or self.messages > MOST_MESSAGES:
            self.ending = asyncio.ensure_future(self.end(TOO_MUCH))
            cell.outputs = []
            self.shown = self.messages = 0
        return super().process_message(msg, cell, cell_index)
