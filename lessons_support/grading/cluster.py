"""Runs on the workers of a Dask cluster, through its standard client."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from lessons_support.grading.engine import NoCluster

RETRIES = 3
"""How often a job is given to another worker when one fails or is lost."""


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """The places of a cluster, as an executor; raises NoCluster if it is not there."""
    try:
        from distributed import Client
    except ImportError:
        raise NoCluster(
            "--scheduler needs Dask: pip install 'asyncio-lessons[cluster]'."
        ) from None
    try:
        client = Client(address, timeout=20)
    except (OSError, ValueError) as error:
        raise NoCluster(f"No scheduler answers at {address}: {error}") from None
    with client:
        # Without pure=False, Dask would take two equal jobs for one.
        yield client.get_executor(pure=False, retries=RETRIES)
