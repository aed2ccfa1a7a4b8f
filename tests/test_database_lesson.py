"""Lesson 3.2 on PostgreSQL: the same cells, outputs and verdicts as on SQLite.

A server of Debian's programs is started for these tests alone, and stopped after them.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import pytest
from kernels import kernel
from lessons import NOTEBOOKS, exercises, read
from test_exercises import Feedback, answers, is_told, walk

pytestmark = pytest.mark.equipment

[PATH] = [path for path in NOTEBOOKS if path.stem.startswith("3.2-")]
ROOT = Path(__file__).resolve().parent.parent
PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # Debian's
USER, PASSWORD = "lesson", "kept-to-itself"
LIMIT = 30  # seconds for the server to start


# --- the server


def program(name):
    """Where one of PostgreSQL's programs is: on the PATH, or where Debian puts it."""
    places = os.pathsep.join([os.environ.get("PATH", ""), *map(str, PLACES)])
    if found := shutil.which(name, path=places):
        return found
    missing = f"PostgreSQL's {name} is not there; Debian: apt-get install postgresql"
    # Where CI skips, nobody notices that the lesson was never run on PostgreSQL.
    return pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)


def identity():
    """PostgreSQL does not run as root, so for root: as another user."""
    return {"user": "nobody"} if os.geteuid() == 0 else {}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def answer(url):
    """What the server answers to `select 1`, asked until it is up."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                connection = await asyncpg.connect(url)
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.05)
                continue
            try:
                return await connection.fetchval("select 1")
            finally:
                await connection.close()


@pytest.fixture(scope="module")
def url():
    """The address of a server that asks for a password."""
    initdb, postgres = program("initdb"), program("postgres")
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        password, data, port = Path(folder, "password"), f"{folder}/data", free_port()
        password.write_text(PASSWORD)
        if user := identity().get("user"):
            shutil.chown(folder, user)
        new = [initdb, "--no-sync", "--auth=scram-sha-256", f"--username={USER}"]
        new += [f"--pwfile={password}", f"--pgdata={data}"]
        run = [
            postgres,
            "-D",
            data,
            "-p",
            str(port),
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        run += ["-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, **identity()}
        subprocess.run(new, check=True, **quiet)
        server = subprocess.Popen(run, stderr=subprocess.DEVNULL, **quiet)
        try:
            address = f"{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
            assert asyncio.run(answer(f"postgresql://{address}")) == 1
            yield f"postgresql+asyncpg://{address}"
        finally:
            server.send_signal(signal.SIGINT)  # its word for: now, and tidily
            server.wait()


async def left_behind(url):
    """The schemas of the lesson that are still there, and who is still connected."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        schemas = "select nspname from pg_namespace where nspname like 'lesson%'"
        others = (
            "select application_name from pg_stat_activity "
            "where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
        return await connection.fetch(schemas), await connection.fetch(others)
    finally:
        await connection.close()


# --- the lesson on it


def test_the_lesson_shows_on_postgresql_what_it_shows_on_sqlite(url):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-o", "addopts=", "--nbval", "--nbval-current-env", str(PATH)]
    command += ["--nbval-cell-timeout=120"]
    command += ["--nbval-sanitize-with=tests/nbval-sanitize.cfg"]
    place = {"cwd": ROOT, "env": os.environ | {"DATABASE_URL": url}}
    run = subprocess.run(command, capture_output=True, text=True, **place)
    assert run.returncode == 0, run.stdout
    assert asyncio.run(left_behind(url)) == ([], [])


def test_its_exercises_are_judged_on_postgresql_as_on_sqlite(url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", url)
    lesson = read(PATH)
    told = asyncio.run(walk(lesson))
    for name in [exercise.name for exercise in exercises(lesson)]:
        claims = told[name, "shipped"].fails
        assert told[name, "shipped"].holds == ()
        assert told[name, "solution"] == Feedback(claims, (), ())
        for answer in answers(name):
            said = told[name, answer.title]
            if answer.right:
                assert said == Feedback(claims, (), ()), answer.title
            else:
                is_told(answer, said)
    assert asyncio.run(left_behind(url)) == ([], [])


# --- a database that is not there


async def first_error(lesson):
    """What the first cell that fails shows in place of a traceback."""
    async with kernel(lesson.folder) as client:
        for cell in lesson.code:
            reply = await client.execute_interactive(
                cell.source, timeout=LIMIT, output_hook=lambda message: None
            )
            if reply["content"]["status"] == "error":
                return reply["content"]["traceback"]
    return None


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (PASSWORD, "wrong", 'password authentication failed for user "lesson"'),
        ("/postgres", "/none", 'database "none" does not exist'),
        ("+asyncpg", "", "No module named 'psycopg'"),
        (
            "postgresql+asyncpg://",
            "",
            "Could not parse SQLAlchemy URL from given URL string",
        ),
    ],
)
def test_a_database_that_refuses_is_one_sentence(url, monkeypatch, old, new, why):
    monkeypatch.setenv("DATABASE_URL", url.replace(old, new))
    told = asyncio.run(first_error(read(PATH)))
    assert told == [f"The database does not answer: {why}."]


def test_a_database_that_is_not_there_is_one_sentence(monkeypatch):
    nowhere = f"127.0.0.1:{free_port()}/postgres"
    monkeypatch.setenv("DATABASE_URL", f"postgresql+asyncpg://{USER}:x@{nowhere}")
    [told] = asyncio.run(first_error(read(PATH)))
    assert told.startswith("The database does not answer: ")
    assert "\n" not in told
