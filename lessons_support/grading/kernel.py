"""Kernels for runs: boxed and forked from a warm template, or ordinary ones."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq.asyncio
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerBase
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from lessons_support.grading.box import Box, NoBox
from lessons_support.grading.template import ENVIRONMENT, FAILED, PORTS, READY

START_LIMIT, IOPUB_LIMIT = 60, 15
"""Seconds until a kernel answers, and until a cell's output has come."""

MOST_SHOWN, MOST_MESSAGES = 2_000_000, 5_000
"""Characters of output, and messages with output, after which a run is ended."""

LARGEST_MESSAGE = 4_000_000
"""Bytes. Whoever sends more is cut off."""

TEMPLATE = "lessons_support.grading.template"
TOO_MUCH = "It printed too much."


class Template:
    """The warm process that kernels are forked from; it is started when needed."""

    def __init__(self, modules: tuple[str, ...] = ()) -> None:
        self.modules = modules
        self.process: subprocess.Popen[bytes] | None = None
        self.lock = asyncio.Lock()

    async def fork(self, box: Box, key: str) -> int:
        """Put a kernel into a box; its process number. Raises NoBox."""
        async with self.lock:
            return await asyncio.to_thread(self._fork, box, key)

    def _fork(self, box: Box, key: str) -> int:
        if self.process is None or self.process.poll() is not None:
            self._start()
        try:
            wanted = {"box": box.inside, "key": key}
            print(json.dumps(wanted), file=self.lines, flush=True)
            pid = int(self.lines.readline() or 0)
        except OSError:
            pid = 0
        if pid == 0:
            raise NoBox("A kernel could not be put into its box.")
        return pid

    def _start(self) -> None:
        ours, its = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", TEMPLATE, *self.modules],
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
        if self.process is not None:
            self.lines.close()
            self.process.kill()
            self.process.wait()


class BoxedKernel(KernelProvisionerBase):
    """One kernel in a box of its own (jupyter_client's interface)."""

    template: Template
    box: Box | None = None
    alive: int | None = None

    @property
    def has_process(self) -> bool:
        return self.box is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        return {**kwargs, "cmd": []}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Make a box, fork a kernel into it, wait until it listens. Raises NoBox."""
        self.box = Box()
        await asyncio.to_thread(self.box.open)
        pid = await self.template.fork(self.box, self.parent.session.key.decode())
        with suppress(ProcessLookupError):
            self.alive = os.pidfd_open(pid)
        while not Path(self.box.sockets, READY).exists():
            if await self.poll() is not None:
                raise NoBox(f"A kernel ended at once. {self._last_words()}")
            await asyncio.sleep(0.005)
        self.parent.ip = f"{self.box.sockets}/k"
        for number, name in enumerate(PORTS, 1):
            setattr(self.parent, f"{name}_port", number)
        return self.parent.get_connection_info()

    def _last_words(self) -> str:
        with suppress(OSError):
            return Path(self.box.sockets, FAILED).read_text()
        return ""

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
        await self.kill()
        if self.alive is not None:
            os.close(self.alive)
            self.alive = None


class Listener(NotebookClient):
    """nbclient's client, which ends the kernel of an answer that prints for ever."""

    shown = messages = 0

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        content = msg["content"]
        self.shown += len(content.get("text", "")) + len(str(content.get("data", "")))
        self.messages += msg["msg_type"] != "status"
        if self.shown > MOST_SHOWN or self.messages > MOST_MESSAGES:
            self.ending = asyncio.ensure_future(self.km.end(TOO_MUCH))
            cell.outputs = []
            self.shown = self.messages = 0
        return super().process_message(msg, cell, cell_index)


class Client(AsyncKernelClient):
    """jupyter_client's client without a heartbeat, which takes a thread for each.

    Whether a kernel lives is known from its process.
    """

    def start_channels(self, **which: bool) -> None:
        super().start_channels(**{**which, "hb": False})


class Manager(AsyncKernelManager):
    """jupyter_client's manager, of a kernel that may have been ended for a reason."""

    ended_for = ""
    client_factory = Client

    def client(self, **kwargs: Any) -> Any:
        """A client that shares the manager's sockets' context, and so its limits."""
        return super().client(context=self.context, **kwargs)

    async def end(self, why: str) -> None:
        """End the kernel now, and note why."""
        self.ended_for = why
        await self.provisioner.kill()

    async def let_go(self) -> None:
        """End the kernel if it is left, and close all sockets, also forgotten ones."""
        with suppress(Exception):
            await self.provisioner.kill()
            await self.provisioner.wait()
        self.context.destroy(linger=0)


def listener(
    sources: list[str], sockets: Path, template: Template | None, limits: list[int]
) -> Listener:
    """A client for a new kernel that is to run these cells, within these seconds.

    The kernel is boxed if it has a template; an ordinary one runs below ``sockets``.
    """
    notebook = new_notebook(cells=[new_code_cell(x) for x in sources])
    seconds = dict(zip((x.id for x in notebook.cells), limits, strict=True))
    found = client(notebook, sockets, sockets / "work", 0, kind=Listener)
    found.timeout_func = lambda cell: seconds[cell.id]
    found.allow_errors = found.raise_on_iopub_timeout = True
    if template is not None:
        found.km.provisioner = BoxedKernel(
            parent=found.km, kernel_id="boxed", kernel_spec=found.km.kernel_spec
        )
        found.km.provisioner.template = template
    return found


def client(
    notebook: Any,
    sockets: Path,
    folder: Path,
    limit: int,
    kind: type[NotebookClient] = NotebookClient,
) -> NotebookClient:
    """A client for a new kernel that runs in a folder, with seconds for each cell.

    Its sockets have a folder of their own: kernels side by side race for TCP ports.
    """
    context = zmq.asyncio.Context()
    context.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
    manager = Manager(
        kernel_name="python3",
        context=context,
        transport="ipc" if os.name == "posix" else "tcp",
        connection_file=str(sockets / "kernel.json"),
    )
    return kind(
        notebook,
        km=manager,
        timeout=limit,
        startup_timeout=START_LIMIT,
        iopub_timeout=IOPUB_LIMIT,
        coalesce_streams=True,
        record_timing=False,
        shutdown_kernel="immediate",
        resources={"metadata": {"path": str(folder)}},
    )
