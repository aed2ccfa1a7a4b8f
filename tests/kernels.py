"""Kernels for tests: each fresh, gone at the end, and several at a time."""

import asyncio
import os
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager

SIDE_BY_SIDE = 4  # lessons mostly wait, so more kernels than cores pay
START_LIMIT = 60  # seconds until a kernel answers

# Sockets in a folder of their own: kernels that start side by side race for TCP ports.
TRANSPORT = "ipc" if os.name == "posix" else "tcp"


@asynccontextmanager
async def kernel(folder):
    """A fresh kernel with this Python, gone at the end whatever happens.

    For temporary files it has a folder of its own.
    """
    with (
        tempfile.TemporaryDirectory(prefix="run-") as sockets,
        tempfile.TemporaryDirectory(prefix="tmp-") as temporary,
    ):
        manager = AsyncKernelManager(
            kernel_name="python3",
            transport=TRANSPORT,
            connection_file=str(Path(sockets, "kernel.json")),
        )
        place = {"cwd": str(folder), "env": os.environ | {"TMPDIR": temporary}}
        await manager.start_kernel(**place)
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=START_LIMIT)
            yield client
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)


async def side_by_side(work, lessons):
    """What `work(lesson)` returns for each lesson, or the exception it ended with."""
    places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(lesson):
        async with places:
            return await work(lesson)

    return await asyncio.gather(*map(one, lessons), return_exceptions=True)
