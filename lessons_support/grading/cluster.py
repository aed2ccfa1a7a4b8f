"""Runs on the workers of a Dask cluster, through its standard client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lessons_support.grading.judge import run
from lessons_support.grading.store import Runner

AT_ONCE = 64
"""How many jobs are handed over at a time, so that memory does not grow with them."""

RETRIES = 3
"""How often a job is given to another worker when one fails or is lost."""


class NoCluster(RuntimeError):
    """There is no cluster, and why: a sentence."""


@asynccontextmanager
async def cluster(address: str) -> AsyncIterator[tuple[Runner, int]]:
    """What makes runs on a cluster, and how many at once; raises NoCluster."""
    try:
        from distributed import Client
    except ImportError:
        raise NoCluster(
            "--scheduler needs Dask: pip install 'asyncio-lessons[cluster]'."
        ) from None
    try:
        client = await Client(address, timeout=10, asynchronous=True)
    except (OSError, ValueError) as error:
        raise NoCluster(f"No scheduler answers at {address}: {error}") from None
    async with client:
        # Without pure=False, Dask would take two equal jobs for one.
        options = {"pure": False, "retries": RETRIES}
        yield (lambda job: client.submit(run, job, **options).result()), AT_ONCE
