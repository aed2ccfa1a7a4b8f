"""What a program may leave behind in its process, each thing by a name.

The text of this file is sent into kernels, so it stands alone.
"""

import asyncio
import os
import re
import tempfile
import threading

import psutil

OF_PYTHON = re.compile(r"thread asyncio_|process .*multiprocessing.resource_tracker")
"""A loop's own threads wait for more work, and what looks after the memory of process
pools ends with the process that started it."""


def things():
    """The tasks, threads, processes, sockets and temporary files that are there now."""
    me = psutil.Process()
    found = [f"task {x.get_coro().__qualname__}" for x in asyncio.all_tasks()]
    found += [f"thread {re.sub('[0-9]+', '', x.name)}" for x in threading.enumerate()]
    found += [f"process {' '.join(x.cmdline())}" for x in me.children(recursive=True)]
    found += [f"socket {x.status} {x.laddr}" for x in me.net_connections("inet")]
    found += [f"file {x}" for x in os.listdir(tempfile.gettempdir())]
    return [x for x in found if not OF_PYTHON.match(x)]
