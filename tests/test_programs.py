"""The document's two programs: unchanged, and doing what it says they do."""

import contextlib
import hashlib
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
LIMIT = 30  # seconds until a program that hangs is ended

# Of the text between the document's fences, its comments and last newline included.
DIGESTS = {
    "main_01.py": "2a03ebf4cf21115271ce4660d5abf1eec6906120424a8326d9ffb64d5d381a20",
    "main_02.py": "53e8d884eac829ad085ef42fefad0f5d5d3d70e0e52aa259da0871a1ddf85825",
}


@contextlib.contextmanager
def started(*command):
    """Run a command beside the notebooks; end it with the block, or at the limit."""
    process = subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=NOTEBOOKS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    limit = threading.Timer(LIMIT, process.kill)
    limit.start()
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()
        limit.cancel()


def address(server):
    for line in server.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    pytest.fail("the server ended before it said where it listens")


@pytest.mark.parametrize("name", DIGESTS)
def test_a_program_stands_letter_for_letter(name):
    text = (NOTEBOOKS / name).read_text(encoding="utf-8")
    assert hashlib.sha256(text.encode()).hexdigest() == DIGESTS[name]


def test_main_01_waits_for_both_functions_together():
    with started("main_01.py") as program:
        lines = [(line.strip(), time.monotonic()) for line in program.stdout]
        assert program.wait(LIMIT) == 0
    assert [line for line, _ in lines] == [
        "func1: Start",
        "func2: Start",
        "func2: End",
        "func1: End",
    ]
    # From its first line to its last, so that Python's own start does not count.
    # One after another would be 3 s: the half-way mark tells the two apart.
    seconds = lines[-1][1] - lines[0][1]
    assert 1.9 < seconds < 2.5


def test_main_02_answers_after_two_seconds():
    with started("-m", "uvicorn", "main_02:app", "--port", "0") as server:
        url = address(server)
        begun = time.monotonic()
        with httpx.Client(trust_env=False, timeout=LIMIT) as client:
            response = client.get(url)
        seconds = time.monotonic() - begun
    assert response.json() == {
        "message": "Hello",
        "fetched_data": {"data": "some_data"},
    }
    assert seconds > 1.99
