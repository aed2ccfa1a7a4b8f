"""What serve does with apps that work, fail, hang or block: over real sockets."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from textwrap import dedent

import httpx
import psutil
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from kernels import kernel

from lessons_support import record, rehearse, serve, servers, span
from lessons_support import recorder as recorder_module
from lessons_support import watch as watch_module
from lessons_support.servers import raised

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
ANSWER = {"message": "Hello", "fetched_data": {"data": "some_data"}}
LIMIT, BEGUN = 60, 1.0
"""Seconds within which even a busy machine has answered, or begun to."""

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no process groups")


def client(url, **options):
    """A client that is ready: what it sets up first would keep the loop."""
    return httpx.AsyncClient(
        base_url=url, trust_env=False, verify=False, timeout=LIMIT, **options
    )


def get(url, **options):
    """The answer to one request, from a client of its own."""
    with httpx.Client(trust_env=False, verify=False, timeout=LIMIT) as client:
        return client.get(url, **options)


def left():
    """All that a server could leave behind in this process, and below it."""
    gc.collect()
    mark = os.environ["SERVED_BY"]
    loggers = [logging.getLogger(x) for x in ("", *servers.ThreadServer.loggers)]
    return {
        "threads": threading.active_count(),
        "threads below threading": len(sys._current_frames()),
        "processes": [x.pid for x in psutil.process_iter() if mark in marks_of(x)],
        "files": psutil.Process().num_fds() if os.name == "posix" else 0,
        "log": [(x.level, list(x.handlers), list(x.filters)) for x in loggers],
        "watches": dict(watch_module.WATCHES),
        "recordings": list(recorder_module.ACTIVE),
        "signals": [signal.getsignal(x) for x in (signal.SIGINT, signal.SIGTERM)],
    }


def marks_of(process):
    """What a process was started with, also one that has lost its parent."""
    with suppress(psutil.Error):
        return process.environ().values()
    return ()


@contextmanager
def nothing_left():
    before = left()
    yield
    end = time.monotonic() + 5  # an idle thread takes a moment to be gone
    while left() != before and time.monotonic() < end:
        time.sleep(0.02)
    assert left() == before


@pytest.fixture(scope="module", autouse=True)
def what_was_there_before():
    """Import what uvicorn and httpx load at their first use, and set all that aside.

    Each test collects its garbage, which is quick where nothing older is looked at.
    """
    with serve(FastAPI()) as url:
        get(url)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def everything_is_left_as_it_was_found(monkeypatch, tmp_path):
    """No test of this file leaves a thread, process, socket, file or hook behind."""
    monkeypatch.setenv("SERVED_BY", str(tmp_path))
    with nothing_left():
        yield


@pytest.fixture(params=["object", "command"])
def main_02(request, monkeypatch):
    """The document's program, to be served in each of the two ways."""
    monkeypatch.chdir(NOTEBOOKS)
    monkeypatch.syspath_prepend(NOTEBOOKS)
    if request.param == "command":
        return "main_02:app"
    return importlib.import_module("main_02").app


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module where uvicorn's command finds it."""
    monkeypatch.chdir(tmp_path)

    def write(code, name="shop"):
        (tmp_path / f"{name}.py").write_text(dedent(code))
        return f"{name}:app"

    return write


def app_with(handler, path="/", lifespan=None):
    """An app with one endpoint."""
    app = FastAPI(lifespan=lifespan)
    app.get(path)(handler)
    return app


async def pause():
    await asyncio.sleep(0.3)
    return "ok"


def line_of(text):
    """The number of the only line of this file that ends so."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = [n for n, x in enumerate(lines, 1) if x.endswith(text)]
    return number


# --- a server for the length of a block


def test_the_documents_program_answers_as_the_document_says(main_02):
    with serve(main_02) as url:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        begun = time.monotonic()
        assert get(url).json() == ANSWER
    assert time.monotonic() - begun > 1.99


def test_it_answers_in_an_async_block_and_keeps_the_loop_free_meanwhile(main_02):
    async def program():
        async def beat():
            while True:
                beats.append(time.monotonic())
                await asyncio.sleep(0.02)

        beats, heart = [], asyncio.create_task(beat())
        async with serve(main_02) as url, client(url) as asks:
            while_starting = len(beats)
            assert (await asks.get("/")).json() == ANSWER
        heart.cancel()
        return while_starting

    # A command takes half a second at the least to start, a thread some milliseconds.
    assert asyncio.run(program()) >= (10 if main_02 == "main_02:app" else 1)


def test_it_answers_in_a_plain_block_while_a_loop_runs(main_02):
    async def program():
        with serve(main_02) as url:
            async with client(url) as asks:
                return (await asks.get("/")).json()

    assert asyncio.run(program()) == ANSWER


def test_three_runs_in_a_row_leave_nothing(main_02):
    for _ in range(3):
        with nothing_left(), serve(main_02) as url:
            get(url, params={"n": 1})


def test_the_port_is_free_again_and_a_port_may_be_asked_for(main_02):
    with serve(main_02) as url:
        port = int(url.rpartition(":")[2])
    with pytest.raises(httpx.ConnectError):
        get(url)
    with socket.create_server(("127.0.0.1", port)):
        pass
    with serve(main_02, port=port) as again:
        assert again == url


def test_ten_requests_wait_together(main_02):
    async def program():
        async with serve(main_02) as url, client(url) as asks:
            begun = time.monotonic()
            answers = await asyncio.gather(*(asks.get("/") for _ in range(10)))
            return [x.json() for x in answers], time.monotonic() - begun

    answers, seconds = asyncio.run(program())
    assert answers == [ANSWER] * 10
    assert seconds < 11  # half-way to the sum


def test_a_server_has_one_block(main_02):
    server = serve(main_02)
    with server as url:
        with pytest.raises(RuntimeError, match="call serve\\(\\) once"), server:
            pass
        assert get(url).json() == ANSWER


def test_two_servers_run_side_by_side():
    one, other = app_with(pause, "/one"), app_with(pause, "/other")
    with serve(one) as first, serve(other) as second:
        assert get(f"{first}/one").json() == get(f"{second}/other").json() == "ok"
        assert get(f"{first}/other").status_code == 404


def test_an_app_starts_and_ends_with_its_server():
    @asynccontextmanager
    async def lifespan(app):
        said.append("begun")
        yield
        said.append("ended")

    said = []
    with serve(app_with(pause, lifespan=lifespan)):
        assert said == ["begun"]
    assert said == ["begun", "ended"]


def test_an_app_that_knows_of_no_start_is_served(capsys):
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    with serve(app) as url:
        assert get(url).status_code == 204
    assert capsys.readouterr().out == ""


def test_a_file_that_is_changed_is_loaded_again(module):
    code = "from fastapi import FastAPI\napp = FastAPI(title={!r})\n"
    with serve(module(code.format("old")), reload=True) as url:
        assert get(f"{url}/openapi.json").json()["info"]["title"] == "old"
        module(code.format("new"))
        os.utime("shop.py", (time.time() + 2,) * 2)  # by clocks that tick in seconds
        title, end = "old", time.monotonic() + LIMIT
        while title == "old" and time.monotonic() < end:
            with suppress(httpx.TransportError):  # while the one goes and one comes
                title = get(f"{url}/openapi.json").json()["info"]["title"]
        assert title == "new"


def test_the_verb_is_loaded_without_the_server():
    code = (
        "import sys; from lessons_support import serve; from fastapi import FastAPI\n"
        "serve('main:app'); serve(FastAPI()); print('uvicorn' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("False\n", "")


@pytest.mark.parametrize("app", [None, FastAPI, pause, print, 8000, sys, lambda: None])
def test_what_is_no_app_is_refused_with_what_was_expected(app):
    with pytest.raises(TypeError, match=r"takes an app, such as app = FastAPI\(\)"):
        serve(app)


@pytest.mark.parametrize(
    "name", ["main_02", "main_02.py", "main_02.py:", "", "a b:app"]
)
def test_a_text_that_is_no_import_string_is_refused(name):
    with pytest.raises(ValueError, match='takes "module:name", such as "main_02:app"'):
        serve(name)


def test_only_a_file_can_be_reloaded():
    with pytest.raises(ValueError, match='serve\\("module:name", reload=True\\)'):
        serve(FastAPI(), reload=True)


# --- a start that fails


def failure(*args, **options):
    """The one clear error that a start ends with."""
    with pytest.raises(RuntimeError) as caught, serve(*args, **options):
        pass
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


LIFE = """
from contextlib import asynccontextmanager
from fastapi import FastAPI

@asynccontextmanager
async def lifespan(app):
    raise ValueError("no database")
    yield

app = FastAPI(lifespan=lifespan)
"""
NO_MODULE = 'Error loading ASGI app. Could not import module "shop".'
NO_APP = 'Error loading ASGI app. Attribute "app" not found in module "shop".'
BROKEN = [
    (None, NO_MODULE),
    ("", NO_APP),
    ("a = 1\nb = a + c\n", "NameError: name 'c' is not defined, at b = a + c (shop.py"),
    ("a = (\n", "SyntaxError: '(' was never closed, at a = ( (shop.py, line 1)"),
    (LIFE, 'ValueError: no database, at raise ValueError("no database") (shop.py'),
]


@pytest.mark.parametrize(
    ("code", "error", "reload"),
    [(*x, False) for x in BROKEN] + [(*x, True) for x in BROKEN[::2]],
)
def test_a_command_that_cannot_start_is_one_clear_error(
    code, error, reload, module, monkeypatch, capfd
):
    monkeypatch.setattr(servers, "START", 3 * LIMIT)  # it need not be waited for
    app = "shop:app" if code is None else module(code)
    begun = time.monotonic()
    told = failure(app, reload=reload)
    assert time.monotonic() - begun < 2 * LIMIT
    assert told.startswith("The server did not start. ")
    assert error in told
    assert "\n" not in told
    assert capfd.readouterr() == ("", "")


SLOW = """
import logging, time
from fastapi import FastAPI
print("ERROR: the cache is cold", flush=True)
print("ERROR:    [Errno 111] no database yet, I try again", flush=True)
logging.getLogger("uvicorn.error").error("Still no database")
time.sleep(1)
app = FastAPI()
"""


@pytest.mark.parametrize("code", ["", "print('ERROR: the cache is cold', flush=True)"])
def test_a_command_that_ends_at_once_is_one_clear_error(code, module, capfd):
    why = "the cache is cold" if code else "shop:app said nothing."
    told = failure(module(f"{code}\nimport os; os._exit(3)"))
    assert told == f"The server did not start. {why}"
    assert capfd.readouterr() == ("", "")


@posix
def test_a_failed_start_is_told_also_while_a_thread_keeps_the_process(module):
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,))"
    told = failure(module(f"{LIFE}\n{thread}.start()"))
    assert "ValueError: no database" in told


def test_an_app_whose_lifespan_fails_is_one_clear_error(capfd):
    @asynccontextmanager
    async def lifespan(app):
        raise ValueError("no database")
        yield

    line = line_of('        raise ValueError("no database")')
    assert failure(FastAPI(lifespan=lifespan)) == (
        "The server did not start. The app failed with ValueError: no database, "
        f'at raise ValueError("no database") (test_serving.py, line {line}).'
    )
    assert capfd.readouterr() == ("", "")


def test_an_app_that_says_that_it_failed_is_one_clear_error():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed"})

    told = "The server did not start. The app said that it had failed."
    assert failure(app) == told


@pytest.mark.parametrize("blocks", [False, True])
def test_an_app_that_is_never_ready_is_one_clear_error(blocks, monkeypatch, capfd):
    @asynccontextmanager
    async def lifespan(app):
        while blocks:
            pass
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        yield

    cancelled = []
    monkeypatch.setattr(servers, "START", 0.5)
    told = failure(FastAPI(lifespan=lifespan))
    assert told.startswith("The server did not start. The app was not ready after 0.5")
    assert ("(test_serving.py" in told) == blocks
    assert cancelled == [True] * (not blocks)
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_is_one_clear_error(main_02):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = failure(main_02, port=taken.getsockname()[1])
    assert told.startswith("The server did not start. ")
    assert "address already in use" in told.lower()


@pytest.mark.parametrize("command", [False, True])
def test_a_start_that_is_cancelled_leaves_nothing(command, module):
    wait = "import time\ntime.sleep(60)\n"

    @asynccontextmanager
    async def lifespan(app):
        await asyncio.sleep(60)
        yield

    async def program():
        async with asyncio.timeout(0.5), serve(app):
            pass

    app = module(wait) if command else FastAPI(lifespan=lifespan)
    with pytest.raises(TimeoutError):
        asyncio.run(program())


# --- handlers that fail, hang or block


@pytest.fixture
def nothing_logged(caplog):
    yield
    assert caplog.get_records("call") == []


def served(handler, capsys, timeout=LIMIT):
    """How a request fares, and the next one; what is said at the end, and how soon."""
    app = app_with(handler, "/it")
    app.get("/next")(pause)
    with serve(app) as url:
        try:
            status = get(f"{url}/it", timeout=timeout).status_code
            status = status, get(f"{url}/next").json()
        except httpx.TimeoutException:
            status = None
        begun = time.monotonic()
    seconds = time.monotonic() - begun
    out, err = capsys.readouterr()
    assert err == ""
    return status, out.splitlines(), seconds


async def crashes():
    return 1 / 0


async def crashes_in_a_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(crashes())


async def raises_long():
    raise LookupError("first\n\nsecond" + "." * 1000)


async def gives_an_object():
    return object()


async def forgets_await():
    given.append(pause())
    return given[-1]


async def forgets_to_await_a_task():
    return asyncio.create_task(pause())


given = []

NOT_JSON = "which cannot be sent as JSON, at async def"
FAILED = [
    (crashes, "failed with ZeroDivisionError: division by zero, at return 1 / 0 ("),
    (crashes_in_a_group, "failed with ZeroDivisionError: division by zero, at return"),
    (raises_long, "failed with LookupError: first, at raise LookupError("),
    (gives_an_object, f"returned a value of type object, {NOT_JSON} gives_an_object"),
    (forgets_await, f"returned a value of type coroutine, {NOT_JSON} forgets_await"),
    (
        forgets_to_await_a_task,
        f"returned a task or Future, not awaited, {NOT_JSON} forgets_to_await_a_task",
    ),
]


@pytest.mark.usefixtures("nothing_logged")
@pytest.mark.parametrize(("handler", "told"), FAILED)
def test_a_handler_that_fails_is_told_in_one_line_and_the_next_works(
    handler, told, capsys
):
    status, said, _ = served(handler, capsys)
    assert status == (500, "ok")
    (line,) = said
    assert line.startswith(f"→ GET /it {told}")
    assert re.search(r"\(test_serving\.py, line \d+\)\.$", line)
    while given:
        given.pop().close()


def test_what_a_failed_handler_held_is_freed_at_once_not_in_a_later_cell():
    gone = []

    async def crashes_with_one():
        thing = Thing()
        weakref.finalize(thing, gone.append, "freed")
        return 1 / thing

    collects = gc.isenabled()
    gc.disable()
    try:
        with serve(app_with(crashes_with_one)) as url:
            assert get(url).status_code == 500
        assert gone == ["freed"]
    finally:
        gc.enable() if collects else None


class Thing:
    pass


def test_a_coroutine_that_was_returned_is_told_and_does_not_warn_as_well(capsys):
    async def forgets_one():
        return {"data": [pause()]}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with serve(app_with(forgets_one)) as url:
            assert get(url).status_code == 500
        gc.collect()
    said = capsys.readouterr()
    assert said.out.startswith("→ GET / returned a value of type coroutine, which")
    assert said.err == ""


def test_a_connection_outlives_a_failure(capsys):
    with (
        serve(app_with(crashes)) as url,
        httpx.Client(trust_env=False, verify=False, timeout=LIMIT) as asks,
    ):
        used = {asks.get(url).extensions["network_stream"] for _ in range(50)}
    assert len(used) == 1
    assert capsys.readouterr().out.startswith("→ 50 times: GET / failed with ZeroDiv")


def test_the_same_failure_is_told_once(capsys):
    with serve(app_with(crashes)) as url:
        for _ in range(3):
            get(url)
    assert capsys.readouterr().out.startswith("→ 3 times: GET / failed with ZeroDiv")


def test_a_command_tells_its_failures_too(module, capfd):
    code = """
    from fastapi import FastAPI
    import asyncio
    app = FastAPI()
    @app.get("/broken")
    async def broken():
        return 1 / 0
    @app.get("/never")
    async def never():
        await asyncio.Event().wait()
    """
    with serve(module(code)) as url:
        assert get(f"{url}/broken").status_code == 500
        with pytest.raises(httpx.TimeoutException):
            get(f"{url}/never", timeout=BEGUN)
    out, err = capfd.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "→ A request to shop:app failed with ZeroDivisionError: division by zero, "
        "at return 1 / 0 (shop.py, line 7).",
        "→ A request to shop:app was still under way when the server stopped: "
        "await asyncio.Event().wait() (shop.py, line 10).",
    ]


def test_an_error_that_the_handler_means_is_no_failure(capsys):
    async def refuses():
        raise HTTPException(418, "a teapot")

    status, said, _ = served(refuses, capsys)
    assert (status, said) == ((418, "ok"), [])


def test_an_app_that_fails_at_its_end_is_told(capsys):
    @asynccontextmanager
    async def lifespan(app):
        yield
        raise ValueError("no end")

    with serve(FastAPI(lifespan=lifespan)):
        pass
    assert capsys.readouterr().out.startswith("→ The app failed with ValueError: no en")


async def waits_for_ever():
    await asyncio.Event().wait()


async def computes_for_ever():
    while True:
        pass


def computes_in_a_thread():
    while True:
        pass


async def waits_and_catches_everything():
    while True:
        with suppress(BaseException):
            await asyncio.sleep(60)


async def computes_beside():
    await asyncio.to_thread(computes_in_a_thread)


@pytest.mark.usefixtures("nothing_logged")
@pytest.mark.parametrize(
    "handler",
    [waits_for_ever, computes_for_ever, computes_in_a_thread, computes_beside],
)
def test_a_handler_that_never_returns_ends_with_the_server(handler, capsys):
    status, said, seconds = served(handler, capsys, timeout=BEGUN)
    assert status is None
    (line,) = said
    assert line.startswith("→ GET /it was still under way when the server stopped: ")
    assert "(test_serving.py, line " in line
    assert seconds < 15


def test_idle_connections_are_closed_by_a_server_that_is_stopped_by_force(capsys):
    app = app_with(computes_for_ever, "/it")
    app.get("/next")(pause)
    with httpx.Client(trust_env=False, verify=False, timeout=LIMIT) as asks:
        with serve(app) as url:
            assert asks.get(f"{url}/next").json() == "ok"
            with pytest.raises(httpx.TimeoutException):
                get(f"{url}/it", timeout=BEGUN)
        with pytest.raises(httpx.TransportError):
            asks.get(f"{url}/next")


@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine")
def test_a_handler_that_catches_its_cancellation_ends_with_the_server(capsys):
    status, said, seconds = served(waits_and_catches_everything, capsys, timeout=BEGUN)
    assert status is None
    assert len(said) == 1
    assert seconds < 15


def test_a_handler_that_cannot_be_stopped_is_left_behind_with_a_warning(capsys):
    gate = threading.Event()

    async def blocks():
        gate.wait()

    _, said, seconds = served(blocks, capsys, timeout=BEGUN)
    line = line_of("        gate.wait()")
    assert said == [
        "→ GET /it was still under way when the server stopped: "
        f"gate.wait() (test_serving.py, line {line}).",
        "→ It goes on all the same. To be rid of it, restart the kernel.",
    ]
    assert seconds < 20
    gate.set()  # and then nothing is left, which the fixture sees


def test_a_thread_that_cannot_be_stopped_is_told(capsys):
    gate = threading.Event()

    def blocks():
        gate.wait(60)

    _, said, _ = served(blocks, capsys, timeout=BEGUN)
    line = line_of("        gate.wait(60)")
    assert said[1:] == [
        f"→ A thread goes on, at gate.wait(60) (test_serving.py, line {line})."
    ]
    gate.set()


def test_requests_under_way_do_not_keep_a_server_for_long(main_02, capsys):
    """A second after the server's end they are cancelled; alone they take two."""

    async def program():
        async with serve(main_02) as url, client(url) as asks:
            tasks = [asyncio.create_task(asks.get("/")) for _ in range(5)]
            await asyncio.sleep(0.5)
            begun = time.monotonic()
        seconds = time.monotonic() - begun
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return seconds, answers

    seconds, answers = asyncio.run(program())
    assert seconds < 10
    assert len(answers) == 5
    lines = capsys.readouterr().out.splitlines()
    assert all("still under way when the server stopped" in x for x in lines)


@posix
def test_a_command_that_does_not_stop_is_killed(module, capsys):
    code = """
    from fastapi import FastAPI
    app = FastAPI()
    @app.get("/")
    async def busy():
        while True: pass
    """
    with (
        serve(module(code), reload=True) as url,
        pytest.raises(httpx.TimeoutException),
    ):
        get(url, timeout=BEGUN)
    told = "→ shop:app did not stop when it was asked to: it was killed.\n"
    assert capsys.readouterr().out == told


@posix
def test_what_a_command_has_started_ends_with_it(module, capsys):
    code = """
    import subprocess
    from fastapi import FastAPI
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    sleeper = subprocess.Popen(["sleep", "60"], **nowhere)
    app = FastAPI()
    app.get("/")(lambda: sleeper.pid)
    """
    with serve(module(code)) as url:
        sleeper = psutil.Process(get(url).json())
    _, alive = psutil.wait_procs([sleeper], timeout=LIMIT / 2)
    assert alive == []
    assert capsys.readouterr().out == ""


DIES = """
import os, signal
from fastapi import FastAPI
app = FastAPI()
@app.get("/exit/{code}")
async def leave(code: int):
    os._exit(code)
@app.get("/signal/{number}")
async def be_killed(number: int):
    os.kill(os.getpid(), number)
"""


@posix
@pytest.mark.parametrize(
    ("path", "how"),
    [
        ("exit/3", "with exit code 3"),
        ("exit/0", "with exit code 0"),
        ("signal/9", "by the signal SIGKILL"),
    ],
)
@pytest.mark.parametrize("later", [0, 0.3])
def test_a_command_that_dies_inside_the_block_is_told(path, how, later, module, capfd):
    with serve(module(DIES)) as url:
        with pytest.raises(httpx.TransportError):
            get(f"{url}/{path}")
        time.sleep(later)
    told = f"→ The server of shop:app ended before the block did, {how}.\n"
    assert capfd.readouterr() == (told, "")


@posix
def test_a_reloaded_command_that_dies_inside_the_block_is_told(module, capfd):
    with serve(module(DIES), reload=True) as url:
        with pytest.raises(httpx.TransportError):
            get(f"{url}/exit/3")
        time.sleep(0.3)
    told = "→ The server of shop:app ended before the block did.\n"
    assert capfd.readouterr() == (told, "")


@posix
def test_a_death_is_told_beside_the_exception_on_its_way(module, capfd):
    async def program():
        async with serve(module(DIES)) as url, client(url) as asks:
            await asks.get("/exit/3")

    with pytest.raises(httpx.RemoteProtocolError):
        asyncio.run(program())
    told = "→ The server of shop:app ended before the block did, with exit code 3.\n"
    assert capfd.readouterr() == (told, "")


@pytest.mark.parametrize("code", [SLOW, DIES], ids=["prints errors", "is plain"])
@pytest.mark.parametrize("reload", [False, True])
def test_a_command_that_serves_and_stops_when_it_is_asked_to_leaves_no_word(
    code, reload, module, capfd
):
    with serve(module(code), reload=reload) as url:
        assert get(url).status_code == 404
    assert capfd.readouterr() == ("", "")


def test_the_blocks_own_error_goes_through():
    with pytest.raises(KeyError, match="mine"), serve(app_with(pause)):
        raise KeyError("mine")


def test_what_uvicorn_says_is_read_for_its_tracebacks(tmp_path):
    said = f"""
    INFO:     127.0.0.1:1 - "GET / HTTP/1.1" 500 Internal Server Error
    ERROR:    Exception in ASGI application
    Traceback (most recent call last):
      File "{asyncio.__file__}", line 1, in run
      File "{tmp_path / "a.py"}", line 7, in b
        return c()
      File "<string>", line 1, in c
    KeyError: 'd'
    INFO:     Shutting down
    """
    ((error, place),) = raised(dedent(said).splitlines())
    assert (error, place.file, place.line) == ("KeyError: 'd'", f"{tmp_path}/a.py", 7)


# --- recordings


async def recorded(app, ask, inside=False):
    """What is recorded of requests: with the server started inside, or before."""
    if inside:
        with record() as timeline:
            async with serve(app) as url, client(url) as asks:
                await ask(asks)
    else:
        async with serve(app) as url, client(url) as asks:
            with record() as timeline:
                await ask(asks)
            assert timeline.lanes  # told now, whatever the server does later
    return timeline


def requests(timeline):
    return [x for x in timeline.lanes if x.name.startswith("GET")]


def burst(*paths):
    async def ask(asks):
        await asyncio.gather(*(asks.get(x) for x in paths))

    return ask


@pytest.mark.parametrize("inside", [False, True])
def test_each_request_gets_a_lane_on_the_clients_axis(inside):
    async def ask(asks):
        tasks = [asyncio.create_task(asks.get("/"), name=f"ask {n}") for n in range(3)]
        await asyncio.wait(tasks)

    timeline = asyncio.run(recorded(app_with(pause), ask, inside))
    lanes = requests(timeline)
    assert [x.name for x in lanes] == ["GET /", "GET / (2)", "GET / (3)"]
    assert {(x.outcome, x.coroutine) for x in lanes} == {("ok", "GET /")}
    for lane in lanes:
        assert [i.reason for i in lane.intervals if i.state == "wait"] == ["sleep"]
        assert lane.seconds("wait") > 0.29
    first, last = lanes[0], timeline.lane("ask 2")
    assert timeline.lane("ask 0").born < first.born < first.ended < last.ended + 0.1
    assert timeline.most_in_flight >= 3
    assert timeline.overlap("GET /", "GET / (3)") > 0.1


@pytest.mark.parametrize("inside", [False, True])
def test_of_the_server_nothing_shows_but_requests(inside):

    async def ask(asks):
        await asks.get("/")
        await asyncio.gather(asks.get("/"), asks.get("/"))  # one more connection

    timeline = asyncio.run(recorded(app_with(pause), ask, inside))
    names = [x.name for x in timeline.lanes if x.kind != "block"]
    assert sorted(names) == [
        "AsyncClient.get",
        "AsyncClient.get (2)",
        "GET /",
        "GET / (2)",
        "GET / (3)",
    ]
    assert len(timeline.loops) == 2


def test_a_blocked_server_is_found_with_the_line_that_blocks():
    async def blocks():
        time.sleep(0.22)

    timeline = asyncio.run(recorded(app_with(blocks), burst("/", "/", "/")))
    line = line_of("        time.sleep(0.22)")
    (found,) = [x for x in timeline.findings if "GET" in x]
    told = re.fullmatch(
        r"Nobody else on event loop \(2\) could run for 0\.\d s in all, 3 times: "
        r"(GET .+), time\.sleep\(0\.22\) \(test_serving\.py, line (\d+)\)\.",
        found,
    )
    assert sorted(told[1].split(", ")) == ["GET /", "GET / (2)", "GET / (3)"]
    assert int(told[2]) == line
    assert timeline.overlap("GET /", "GET / (3)") < 0.1


def test_a_plain_handler_waits_for_its_thread_where_a_span_may_be():
    def works():
        with span("work"):
            time.sleep(0.2)

    timeline = asyncio.run(recorded(app_with(works), burst("/", "/")))
    for lane in requests(timeline):
        assert "thread" in [i.reason for i in lane.intervals if i.state == "wait"]
        assert lane.seconds("run") < 0.1
    assert timeline.overlap("work", "work (2)") > 0.1


def test_forty_plain_handlers_are_in_flight_and_no_more():
    app = app_with(lambda: time.sleep(0.5))
    timeline = asyncio.run(recorded(app, burst(*["/"] * 45)))
    waits = [
        (i.start, i.end)
        for lane in requests(timeline)
        for i in lane.intervals
        if i.reason == "thread"
    ]
    changes = sorted([(x, 1) for x, _ in waits] + [(x, -1) for _, x in waits])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    assert len(waits) == 45
    assert most == 40


def test_a_span_in_a_handler_belongs_to_its_request():
    async def handles():
        with span("query"):
            await asyncio.sleep(0.1)

    timeline = asyncio.run(recorded(app_with(handles), burst("/")))
    assert timeline.lane("query").parent == "GET /"
    assert timeline.lane("query").seconds("wait") > 0.09


def test_tasks_that_a_handler_starts_are_below_its_request():
    async def handles():
        await asyncio.gather(pause(), pause())

    timeline = asyncio.run(recorded(app_with(handles), burst("/")))
    assert timeline.lane("pause").parent == timeline.lane("pause (2)").parent == "GET /"


def test_what_a_handler_prints_is_on_its_lane(capsys):
    async def handles():
        print("hello from the handler")

    timeline = asyncio.run(recorded(app_with(handles), burst("/")))
    ((_, lane, text),) = timeline.printed
    assert (lane, text) == ("GET /", "hello from the handler")


class Lingers:
    """An app that takes its time after the answer of the app in it has been sent."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        try:
            await self.app(scope, receive, send)
        finally:
            await asyncio.sleep(0.3 if scope["type"] == "http" else 0)


@pytest.mark.parametrize(
    ("handler", "outcome"), [(pause, "ok"), (crashes, "ZeroDivisionError")]
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_requests_outcome_is_known_when_its_answer_arrives(handler, outcome, inside):
    """Also if the recording ends before the server has done the rest."""
    app = Lingers(app_with(handler))
    timeline = asyncio.run(recorded(app, burst("/"), inside))
    (lane,) = requests(timeline)
    assert lane.outcome == outcome
    assert [x for x in timeline.findings if "GET" in x] == []


def test_a_request_that_is_not_answered_by_the_end_is_pending():
    async def ask(asks):
        task = asyncio.create_task(asks.get("/"))
        await asyncio.sleep(0.1)
        asks.still = task

    async def program():
        async with serve(app_with(pause)) as url, client(url) as asks:
            with record() as timeline:
                await ask(asks)
            await asks.still
        return timeline

    timeline = asyncio.run(program())
    assert timeline.lane("GET /").outcome == "pending"
    assert "GET /" in timeline.left_over


def test_work_after_the_answer_is_on_the_lane_too():
    async def handles(later: BackgroundTasks):
        later.add_task(blocks)

    async def blocks():
        time.sleep(0.25)

    async def ask(asks):
        await asks.get("/")
        await asyncio.sleep(0.4)

    timeline = asyncio.run(recorded(app_with(handles), ask))
    assert timeline.lane("GET /").outcome == "ok"
    assert "GET /, time.sleep(0.25)" in " ".join(timeline.findings)


def test_streams_and_dependencies_are_recorded_whole():
    async def dependency():
        yield 1
        await asyncio.sleep(0.05)

    async def handles(it: int = Depends(dependency)):
        async def parts():
            for _ in range(3):
                yield b"part"
                await asyncio.sleep(0.05)

        return StreamingResponse(parts())

    async def ask(asks):
        assert (await asks.get("/")).text == "partpartpart"

    timeline = asyncio.run(recorded(app_with(handles), ask))
    assert timeline.lane("GET /").outcome == "ok"
    assert timeline.lane("GET /").ended > 0.1


@pytest.mark.parametrize("steps", [0, 1])
def test_a_server_in_a_recorded_block_is_waited_for_and_not_blamed(steps):
    async def program():
        with record() as timeline:
            for _ in range(steps):
                await asyncio.sleep(0)
            with serve(app_with(pause)) as url:
                assert url
            for _ in range(steps):
                await asyncio.sleep(0)
        return timeline

    timeline = asyncio.run(program())
    assert timeline.findings == ()
    assert timeline.longest_step < 0.1
    (block,) = timeline.lanes
    assert [i.reason for i in block.intervals if i.state == "wait"] == ["server"] * 2


def test_who_blocks_before_a_server_starts_is_blamed_for_that():
    async def blocks():
        with record() as timeline:
            await asyncio.sleep(0)
            time.sleep(0.15)
            with serve(app_with(pause)):
                pass
            await asyncio.sleep(0)
        return timeline

    timeline = asyncio.run(blocks())
    (found,) = timeline.findings
    assert found.startswith("Nobody else could run for 0.1 s: blocks, time.sleep(0.15)")


def test_a_plain_script_records_requests_of_a_plain_client():
    with record() as timeline, serve(app_with(pause)) as url:
        get(url)
    assert [x.name for x in timeline.lanes] == ["GET /"]


def test_nested_recordings_each_see_their_requests():
    async def program():
        async with serve(app_with(pause)) as url, client(url) as asks:
            with record() as outer:
                await asks.get("/")
                with record() as inner:
                    await asks.get("/")
            with record() as third:
                await asks.get("/")
        return outer, inner, third

    outer, inner, third = asyncio.run(program())
    # On a busy machine the last step of the request before is still to come.
    begun = [
        [y for y in requests(x) if y.kind == "task"] for x in (outer, inner, third)
    ]
    assert list(map(len, begun)) == [2, 1, 1]
    assert begun[1][0].born < 0.1
    for timeline in (outer, inner, third):
        assert {x.outcome for x in requests(timeline)} == {"ok"}


def test_a_rehearsal_keeps_to_its_own_clock():
    async def asks(url):
        async with client(url) as asks:
            return (await asks.get("/")).json()

    with serve(app_with(pause)) as url:
        trial = rehearse(asks, url, limit=LIMIT)
    assert trial.result == "ok"
    assert requests(trial) == []


def test_recording_changes_no_answer_and_no_failure(capsys):
    app = app_with(crashes, "/crash")
    app.get("/pause")(pause)

    async def program(watch):
        async with serve(app) as url, client(url) as asks:
            if not watch:
                return [(x.status_code, x.text) for x in await both(asks)]
            with record():
                return [(x.status_code, x.text) for x in await both(asks)]

    async def both(asks):
        return await asyncio.gather(asks.get("/crash"), asks.get("/pause"))

    bare, said = asyncio.run(program(False)), capsys.readouterr().out
    assert asyncio.run(program(True)) == bare
    assert capsys.readouterr().out == said


# --- in a notebook


async def cells(client, *sources):
    """What each cell prints, and the name of the error that it ends with, if any."""
    told = []
    for source in sources:
        heard = []
        reply = await client.execute_interactive(
            dedent(source), timeout=LIMIT, output_hook=heard.append
        )
        text = "".join(x["content"].get("text", "") for x in heard)
        told.append((text, reply["content"].get("ename")))
    return told


def in_kernel(folder, *sources):
    async def program():
        async with kernel(folder) as client:
            return await cells(client, *sources)

    return asyncio.run(program())


FIRST = """\
import asyncio, signal, time, httpx
from fastapi import FastAPI
from lessons_support import record, serve
app = FastAPI()
taken = signal.getsignal(signal.SIGINT)

@app.get("/data")
async def data():
    print("asked")
    await asyncio.sleep(0.2)
    return {"data": "some_data"}

@app.get("/broken")
async def broken():
    return 1 / 0

@app.get("/blocks")
async def blocks():
    time.sleep(0.2)
"""
ASKS = """
async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
    answers = await asyncio.gather(*(client.get(x) for x in paths))
print([x.status_code for x in answers])
"""
SAME = "print(signal.getsignal(signal.SIGINT) is taken)"


def asking(*paths):
    """Lines of a cell, indented as in a `with` block."""
    lines = [f"paths = {list(paths)}", *ASKS.strip().splitlines()]
    return "".join(f"\n    {line}" for line in lines)


def test_a_cell_serves_an_app_and_leaves_the_kernel_as_it_was(tmp_path):
    told = in_kernel(
        tmp_path,
        FIRST,
        f"with serve(app) as url:{asking('/data', '/broken', '/data')}",
        f"async with serve(app) as url:{asking('/data')}",
        SAME,
    )
    assert told == [
        ("", None),
        (
            "asked\nasked\n[200, 500, 200]\n"
            "→ GET /broken failed with ZeroDivisionError: division by zero, "
            "at return 1 / 0 (cell In[1], line 15).\n",
            None,
        ),
        ("asked\n[200]\n", None),
        ("True\n", None),
    ]


def test_a_cell_records_the_requests_it_makes(tmp_path):
    _, (text, error) = in_kernel(
        tmp_path,
        FIRST,
        "with serve(app) as url, record() as timeline:"
        + asking("/data", "/data", "/blocks")
        + "\nprint([x.name for x in timeline.lanes if x.kind != 'block'])"
        "\nprint([x for x in timeline.findings if 'GET' in x])",
    )
    assert error is None
    *_, lanes, found = text.splitlines()
    # They are sent at once, so any of them may arrive first.
    assert sorted(x for x in eval(lanes) if x.startswith("GET")) == [
        "GET /blocks",
        "GET /data",
        "GET /data (2)",
    ]
    assert "GET /blocks, time.sleep(0.2) (cell In[1], line 19)." in found


def test_a_start_that_fails_is_an_error_and_the_kernel_lives(tmp_path):
    (tmp_path / "shop.py").write_text(dedent(LIFE))
    told = in_kernel(
        tmp_path,
        FIRST,
        "with serve('shop:app'): pass",
        "with serve('nowhere:app'): pass",
        "from shop import app\nwith serve(app): pass",
        "print(1)\n" + SAME,
    )
    errors = [("", "RuntimeError")] * 3
    assert told == [("", None), *errors, ("1\nTrue\n", None)]


def test_a_cell_serves_the_documents_program_by_its_command(tmp_path):
    (tmp_path / "main_02.py").write_text((NOTEBOOKS / "main_02.py").read_text())
    told = in_kernel(
        tmp_path, FIRST, f"async with serve('main_02:app') as url:{asking('/')}"
    )
    assert told[1] == ("[200]\n", None)


@posix
@pytest.mark.parametrize("form", ["app", "'main_02:app'"])
def test_the_stop_button_ends_the_cell_and_the_server(form, tmp_path):
    (tmp_path / "main_02.py").write_text((NOTEBOOKS / "main_02.py").read_text())

    async def program():
        async with kernel(tmp_path) as client:
            await cells(client, FIRST)
            client.execute(
                f"with serve({form}) as url:\n"
                "    open('ready', 'w').write(url)\n    await asyncio.sleep(60)",
                stop_on_error=False,
            )
            url = await contents(tmp_path / "ready")
            await client.parent.interrupt_kernel()
            reply = await client.get_shell_msg(timeout=LIMIT)
            ((text, error),) = await cells(client, SAME)
            return url, reply["content"].get("ename"), text, error

    url, ename, text, error = asyncio.run(program())
    assert ename in ("CancelledError", "KeyboardInterrupt")
    assert (text, error) == ("True\n", None)
    with pytest.raises(httpx.ConnectError):
        get(url)


async def contents(file):
    end = time.monotonic() + LIMIT
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    return file.read_text()


@posix
@pytest.mark.parametrize("reload", [False, True])
def test_a_command_does_not_outlive_a_process_that_is_killed(reload, tmp_path):
    (tmp_path / "main_02.py").write_text((NOTEBOOKS / "main_02.py").read_text())
    code = (
        "import time; from lessons_support import serve\n"
        f"with serve('main_02:app', reload={reload}) as url:\n"
        "    print(url, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(children) > 1
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
