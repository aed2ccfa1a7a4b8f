"""Kernels for runs: boxed and forked from a warm template, or ordinary ones."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import zmq.asyncio
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerBase
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from traitlets import default

from lessons_support.grading.box import SOCKETS, Box, NoBox
from lessons_support.grading.lesson import imports, lessons
from lessons_support.grading.template import ENVIRONMENT, PORTS, STATE

START_LIMIT, IOPUB_LIMIT = 60, 15
"""Seconds until a kernel answers, and until a cell's output has come."""

MOST_SHOWN, MOST_MESSAGES = 2_000_000, 5_000
"""Characters of output, and messages with output, after which a run is ended."""

LARGEST_MESSAGE = 4_000_000
"""Bytes. Whoever sends more is cut off."""

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
        cells = {
            y for x in lessons().values() for one in x.exercises for y in one.above
        }
        statements = sorted({x for cell in cells for x in imports(cell)})
        ours, its = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lessons_support.grading.template", *statements],
            stdin=its,
            stdout=subprocess.DEVNULL,
            cwd="/",
            # Forks inherit its memory, so nothing of ours goes in.
            env={**ENVIRONMENT, "MPLCONFIGDIR": "/nonexistent", "HOME": "/"},
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


class BoxedKernel(KernelProvisionerBase):
    """One kernel in a box of its own (jupyter_client's interface)."""

    box: Box | None = None
    alive: int | None = None

    @property
    def has_process(self) -> bool:
        return self.box is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        return {**kwargs, "cmd": []}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Make a box, fork a kernel into it, wait until it listens. Raises NoBox."""
        await asyncio.to_thread(self._launch)
        state = self.box.root / STATE[1:]
        while not state.exists():
            if await self.poll() is not None:
                raise NoBox("A kernel ended at once.")
            await asyncio.sleep(0.005)
        if why := state.read_text():
            raise NoBox(f"A kernel did not start. {why}")
        self.parent.ip = f"{self.box.root}{SOCKETS}/k"
        for name, number in PORTS.items():
            setattr(self.parent, name, number)
        return self.parent.get_connection_info()

    def _launch(self) -> None:
        self.box = Box()
        pid = TEMPLATE.fork(self.box, self.parent.session.key.decode())
        with suppress(ProcessLookupError):
            self.alive = os.pidfd_open(pid)

    async def poll(self) -> int | None:
        if self.alive is None or not self.box.is_open():
            return 1
        return 1 if select.select([self.alive], [], [], 0)[0] else None

    async def wait(self) -> int:
        return 1

    async def send_signal(self, signum: int) -> None:
        """Nothing: a kernel that does not end by itself is ended with its box."""

    async def kill(self, restart: bool = False) -> None:
        if self.box is not None:
            await asyncio.to_thread(self.box.close)

    terminate = kill

    async def cleanup(self, restart: bool = False) -> None:
        if self.alive is not None:
            os.close(self.alive)
            self.alive = None


class Channels(AsyncKernelClient):
    """jupyter_client's client without a heartbeat, which takes a thread for each.

    Whether a kernel lives is known from its process. All sockets are in the manager's
    context, and so within its limits, and closed with it.
    """

    @default("context")
    def _of_the_manager(self) -> zmq.Context:
        return self.parent.context

    def start_channels(self, **which: bool) -> None:
        super().start_channels(**{**which, "hb": False})


class Client(NotebookClient):
    """nbclient's client, of a kernel that is ended if it shows too much."""

    shown = messages = 0
    ended_for = ""

    @asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """A fresh kernel, gone at the end. Signals are left to whom they belong."""
        try:
            await self.async_start_new_kernel()
            await self.async_start_new_kernel_client()
            yield
        finally:
            await self.end()
            # All sockets, also forgotten ones.
            self.km.context.destroy(linger=0)

    async def end(self, why: str = "") -> None:
        """End the kernel now, and note why."""
        self.ended_for = self.ended_for or why
        with suppress(Exception):
            await self.km.provisioner.kill()
            await self.km.provisioner.wait()
            await self.km.provisioner.cleanup()

    async def run(self, cell: Any, number: int) -> None:
        """Execute a cell. nbclient takes a task that is cancelled for a dead kernel."""
        try:
            await self.async_execute_cell(cell, number)
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


def client(notebook: Any, folder: Path, *, boxed: bool, **settings: Any) -> Client:
    """A client for a new kernel; an ordinary one has its sockets in a folder.

    That is one of its own: kernels side by side race for TCP ports.
    """
    context = zmq.asyncio.Context()
    context.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
    manager = AsyncKernelManager(
        kernel_name="python3",
        context=context,
        transport="ipc" if os.name == "posix" else "tcp",
        connection_file=str(folder / "kernel.json"),
        client_factory=Channels,
    )
    if boxed:
        manager.provisioner = BoxedKernel(
            parent=manager, kernel_id="boxed", kernel_spec=manager.kernel_spec
        )
    return Client(
        notebook,
        km=manager,
        startup_timeout=START_LIMIT,
        iopub_timeout=IOPUB_LIMIT,
        coalesce_streams=True,
        record_timing=False,
        **settings,
    )
