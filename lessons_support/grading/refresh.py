"""Run the course's own lessons afresh, and save them with their outputs."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from lessons_support.grading.kernel import Client, OrdinaryKernel
from lessons_support.grading.lesson import FOLDER

SIDE_BY_SIDE = 2
"""Lessons mostly wait, but what they show is in real time: no more than two cores."""

CELL_LIMIT = 120
"""Seconds for one cell."""


async def refresh(paths: list[Path]) -> int:
    """Run notebooks, all of the course without any named; the exit code.

    A notebook is saved only if all of it ran; what did not gets a sentence.
    """
    places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(path: Path) -> int:
        async with places:
            return await _refresh(path)

    return max(await asyncio.gather(*map(one, paths or sorted(FOLDER.glob("*.ipynb")))))


async def _refresh(path: Path) -> int:
    try:
        notebook = nbformat.read(path, as_version=4)
        await _run(notebook, path.parent)
    except (OSError, ValueError) as error:
        return _complain(path, f"it cannot be read: {error}")
    except CellExecutionError as error:
        return _complain(path, f"a cell failed with {error.ename}: {error.evalue}")
    except (CellTimeoutError, DeadKernelError) as error:
        return _complain(path, str(error).strip().splitlines()[0])
    nbformat.write(_without_places(notebook), path)
    print(f"{path} is fresh.")
    return 0


async def _run(notebook: Any, folder: Path) -> None:
    """Run all cells; the metadata stays as it was."""
    metadata = dict(notebook.metadata)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory(prefix="grade-") as sockets:
        kernel = OrdinaryKernel(folder, Path(sockets))
        async with Client(notebook, kernel, timeout=CELL_LIMIT) as client:
            for number, cell in enumerate(notebook.cells):
                count = client.code_cells_executed + 1
                await client.run(cell, number, execution_count=count)
    notebook.metadata = nbformat.from_dict(metadata)


def _without_places(notebook: Any) -> Any:
    """Tracebacks that say lib/python3.12/…, wherever Python is on this machine."""
    home = str(Path.home())
    places = {str(Path(x).resolve()) for x in (sys.prefix, sys.base_prefix)}
    places |= {x.replace(home, "~", 1) for x in places if x.startswith(home)}
    for output in (y for x in notebook.cells for y in x.get("outputs", ())):
        for place in sorted(places):
            for number, line in enumerate(output.get("traceback", ())):
                output.traceback[number] = line.replace(f"{place}{os.sep}", "")
    return notebook


def _complain(path: Path, why: str) -> int:
    print(f"{path} is left as it was: {why}", file=sys.stderr)
    return 1
