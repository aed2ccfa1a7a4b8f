"""CPython's own tests of asyncio pass with every loop recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

try:
    import test.test_asyncio as suite
except ImportError:
    suite = None

HARNESS = Path(__file__).with_name("recorded_suite.py")
LIMIT = 300  # seconds for one module: most take 30, and one that hangs ends itself
SLOWEST = ("test_tasks", "test_subprocess", "test_events", "test_ssl")


def modules() -> list[str]:
    """The suite's modules, the slowest first."""
    names = {x.stem for x in Path(suite.__file__).parent.glob("test_*.py")}
    return sorted(names, key=lambda x: (x not in SLOWEST, x))


def run(how: str, module: str) -> dict:
    """Run a module of the suite "bare" or "recorded", in a process of its own."""
    ran = subprocess.run(
        [sys.executable, HARNESS, how, f"test.test_asyncio.{module}"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if ran.returncode:
        pytest.fail(f"{module}, {how}, ended with {ran.returncode}: {ran.stderr}")
    return json.loads(ran.stdout.splitlines()[-1])


def broken(module: str, recorded: dict) -> set[str]:
    """The tests of a module that fail when recorded and pass without.

    Some of them count milliseconds, so what passes at a second try is not held against
    the recorder.
    """
    failed = set(recorded["failed"])
    if failed:
        failed -= set(run("bare", module)["failed"])
    if failed:
        failed &= set(run("recorded", module)["failed"])
    return failed


def test_cpythons_own_tests_fail_no_more_than_bare_when_every_loop_is_recorded():
    if suite is None:
        assert not os.environ.get("CI"), "CI needs a Python with test.test_asyncio"
        pytest.skip(
            "this Python has no test.test_asyncio (Debian: libpython3-testsuite)"
        )
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        names = modules()
        told = dict(
            zip(names, pool.map(lambda x: run("recorded", x), names), strict=True)
        )
    ran, intervals = (sum(x[y] for x in told.values()) for y in ("ran", "intervals"))
    print(f"{ran} tests of CPython ran with {intervals} intervals recorded")
    assert ran > 1500
    assert intervals > 10_000
    assert {x: y["flaws"] for x, y in told.items() if y["flaws"]} == {}
    assert {x: z for x, y in told.items() if (z := broken(x, y))} == {}
