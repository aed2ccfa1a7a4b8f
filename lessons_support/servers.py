"""The two servers: an app in a thread of its own, and uvicorn's command in a process.

A server is started and stopped step by step, so that whoever waits may do so asleep or
awaiting: ``start`` and ``stop`` yield as long as there is something to wait for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter
from typing import Any

from lessons_support.apart import Apart, Stop, _ask
from lessons_support.reception import Reception, unanswered
from lessons_support.sampler import LIBRARIES, Place, place_in, place_of
from lessons_support.words import at_place

HOST = "127.0.0.1"

START, STOP = 30.0, 3.0
"""Seconds that a server may take to start, and to stop by itself."""

GRACE = 1
"""Seconds that requests under way are given when a server stops."""

REST = 0.5
"""Seconds that what is left over then is given to end."""

NO_END = "It goes on all the same. To be rid of it, restart the kernel."


def until(done: Callable[[], bool], within: float) -> Iterator[None]:
    """Yield until something is done, for at most so many seconds."""
    end = perf_counter() + within
    while not done() and perf_counter() < end:
        yield


class ThreadServer:
    """An app object, served in a thread of its own, on a loop of its own."""

    loggers = ("uvicorn.error", "uvicorn.access", "uvicorn.asgi")

    def __init__(self, app: Any, port: int) -> None:
        self.reception, self.port = Reception(app), port
        self.work: Apart | None = None
        self.thread: int | None = None
        self.by_force = False

    def start(self) -> Iterator[None]:
        """Raises RuntimeError if the port is taken, or the app is not ready in time."""
        from uvicorn import Config, Server  # slow to load

        config = Config(
            self.reception, log_config=None, timeout_graceful_shutdown=GRACE
        )
        self.server = Server(config)
        self.socket = _listener(self.port)
        self.url = f"http://{HOST}:{self.socket.getsockname()[1]}"
        self.loop = asyncio.new_event_loop()
        self.crew = f"worker of {self.url}"  # the threads of asyncio.to_thread
        self.loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix=self.crew))
        for name in self.loggers:
            logging.getLogger(name).addFilter(self._of_others)
        self.work = Apart(self._serve, at_last=self._end_late)
        yield from until(lambda: self.server.started or self.work.ended(0), START)
        if not self.server.started:
            raise RuntimeError(f"The server did not start. {self._why()}")

    def stop(self) -> Iterator[None]:
        """End what was started, whatever state that is in."""
        if self.work is None:
            return
        self.reception.closing = self.server.should_exit = True
        if self.server.started:
            yield from until(lambda: self.work.ended(0), STOP)
        if not self.work.ended(0):
            self._end_by_force()
        self.socket.close()
        yield from self._end_workers()

    @property
    def failures(self) -> list[str]:
        """A sentence for each request that has failed, or was cut off."""
        return [*self.reception.failures, *filter(None, [self.reception.broken])]

    def _why(self) -> str:
        if self.work.ended(0):
            return self.reception.broken or repr(self.work.error)
        place = place_in(self.work.frame())
        return f"The app was not ready after {START:g} s{at_place(place)}."

    # In the thread apart.

    def _serve(self) -> None:
        self.thread = threading.get_ident()  # before anything is logged
        try:
            self.loop.run_until_complete(self.server.serve(sockets=[self.socket]))
        finally:
            if not self.by_force:  # else it would be stopped, too
                self._clean_up()

    def _clean_up(self) -> None:
        """Leave no task, socket or filter behind, also where something was cut off."""
        if self.loop.is_closed():
            return
        self.thread = threading.get_ident()
        # A thread that was stopped may not have said that its loop has stopped.
        self.loop._thread_id, self.loop._stopping = None, False
        self.loop.set_exception_handler(lambda loop, context: None)
        for server in getattr(self.server, "servers", ()):
            with suppress(ValueError):  # its socket has been closed
                server.close()
        for connection in tuple(self.server.server_state.connections):
            connection.transport.abort()
        self._cancel_all()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        for name in self.loggers:
            logging.getLogger(name).removeFilter(self._of_others)

    def _end_late(self) -> None:
        """What could not be stopped has returned, long after the block's end."""
        self._clean_up()
        threading._active.pop(threading.get_ident(), None)  # see `Apart.ended`

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        for _ in until(lambda: not asyncio.all_tasks(self.loop), REST):
            self.loop.call_later(0.01, self.loop.stop)
            self.loop.run_forever()
        for task in asyncio.all_tasks(self.loop):  # it would not be cancelled
            self.loop.call_soon(task.get_coro().close)
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def _of_others(self, record: logging.LogRecord) -> bool:
        """Whether something that is logged is none of this server's."""
        return record.thread != self.thread

    # In the thread that serves, from outside.

    def _end_by_force(self) -> None:
        """Stop a handler that keeps the loop for itself, and say which it was."""
        place, task = place_in(self.work.frame()), asyncio.current_task(self.loop)
        culprit = task.get_name() if task else ""
        with suppress(RuntimeError):  # it has just been closed
            self.loop.call_soon_threadsafe(self.loop.stop)
        self.by_force = not self.work.ended(REST)
        if self.by_force and self.work.stop():
            rest = Apart(self._clean_up)
            _ = rest.ended(2 * REST) or rest.stop()
        told = {x.name: unanswered(x.name, None) for x in self.reception.open}
        if culprit in told:
            told[culprit] = unanswered(culprit, place)
        self.reception.failures += told.values()
        if self.work.given_up:
            self.reception.failures.append(NO_END)

    def _end_workers(self) -> Iterator[None]:
        """The threads of plain handlers end with the loop, unless they are kept."""
        yield from until(lambda: not self._workers(), REST / 2)
        for worker in self._workers():
            _ask(worker.ident, Stop)
        yield from until(lambda: not self._workers(), REST / 2)
        for worker in self._workers():
            place = place_of(worker.ident)
            self.reception.failures.append(f"A thread goes on{at_place(place)}.")

    def _workers(self) -> list[threading.Thread]:
        """AnyIO's threads know their loop; asyncio's have our name."""
        return [
            x
            for x in threading.enumerate()
            if getattr(x, "loop", None) is self.loop or x.name.startswith(self.crew)
        ]


def _listener(port: int) -> socket.socket:
    """A socket that is bound to a port.

    That it is one of TCP is said: else asyncio does not set TCP_NODELAY, and an answer
    in two parts takes 40 ms longer (asyncio/base_events.py, `_set_nodelay`).
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":  # elsewhere it would let two servers have one port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        what = f"Port {port}: {error.strerror or error}."
        raise RuntimeError(f"The server did not start. {what}") from None
    return listener


NO_START = (
    "ERROR:    Application startup failed",
    "ERROR:    Error loading ASGI app",
    "Process SpawnProcess",
)
"""How lines begin by which uvicorn says that it will not serve (`lifespan/on.py` and
`config.py`; the last is multiprocessing's). An app may print other errors and start."""


class CommandServer:
    """What ``python -m uvicorn main:app`` starts, in a process group of its own."""

    def __init__(self, app: str, port: int, reload: bool) -> None:
        self.app = app
        self.command = [sys.executable, "-m", "uvicorn", app, "--port", str(port)]
        self.command += ["--timeout-graceful-shutdown", str(GRACE)]
        self.command += ["--reload"] * reload
        self.process: subprocess.Popen[str] | None = None
        self.said: list[str] = []
        self.reload = reload
        self.gone = self.killed = False

    def start(self) -> Iterator[None]:
        """Raises RuntimeError with what uvicorn said if it does not come to serve."""
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.guard = _guard(self.process.pid)
        self.reader = Apart(self._read)
        yield from until(lambda: self._is_up() or self._has_failed(), START)
        if not self._is_up():
            yield from until(lambda: self.reader.ended(0), REST)
            raise RuntimeError(f"The server did not start. {self._why()}")

    def stop(self) -> Iterator[None]:
        """Ask the command to end, and kill it if it does not."""
        if self.process is None:
            return
        self.gone = self._has_gone()
        self.process.terminate()
        # When nobody holds the other end of the pipe, all have ended: with --reload
        # there are several processes.
        yield from until(lambda: self.reader.ended(0), STOP)
        if not self.reader.ended(0):
            self.killed = True
            _kill(self.process)
            yield from until(lambda: self.reader.ended(0), STOP)
        if self.guard:
            self.guard.kill()
            self.guard.communicate()
        self.process.wait()
        with suppress(ProcessLookupError):
            _kill(self.process)  # what it has started and left, for that holds no pipe
        if self.reader.ended(0):
            self.process.stdout.close()
        self.gone = self.gone or self._was_going()

    @property
    def url(self) -> str:
        """The address in the line by which uvicorn says that it runs."""
        found = re.search(r"Uvicorn running on (\S+)", "\n".join(self.said))
        return found[1] if found else ""

    @property
    def failures(self) -> list[str]:
        """A sentence for each request that failed or was cut off, and for a bad end."""
        told = [self._told(*x) for x in raised(self.said)]
        if self.gone:
            how = "" if self.reload else f", {_ending(self.process.returncode)}"
            told.append(f"The server of {self.app} ended before the block did{how}.")
        elif self.killed:
            told.append(f"{self.app} did not stop when it was asked to: it was killed.")
        return told

    def _told(self, error: str, place: Place | None) -> str:
        name = f"A request to {self.app}"
        if "CancelledError" in error:
            return unanswered(name, place)
        return f"{name} failed with {error}{at_place(place)}."

    def _read(self) -> None:
        for line in self.process.stdout:
            self.said.append(line.rstrip())

    def _is_up(self) -> bool:
        """With --reload, what is said comes before the server listens."""
        ready = any("Application startup complete" in x for x in self.said)
        if not (ready and self.url):
            return False
        with suppress(OSError):
            port = int(self.url.rpartition(":")[2])
            socket.create_connection((HOST, port), REST).close()
            return True
        return False

    def _has_failed(self) -> bool:
        """With --reload the process stays, waiting for the file to be changed."""
        if self.process.poll() is not None or self.reader.ended(0):
            return True
        return any(x.startswith(NO_START) for x in self.said)

    def _has_gone(self) -> bool:
        """Whether what serves has ended; with --reload, a process waits beside it."""
        if self.process.poll() is not None:
            return True
        if not self.reload:
            return False
        import psutil  # for this alone

        with suppress(psutil.Error):
            below = psutil.Process(self.process.pid).children()
            return any(x.status() == psutil.STATUS_ZOMBIE for x in below)
        return False

    def _was_going(self) -> bool:
        """Whether what has ended now was about to when it was asked to.

        For its connections close first. uvicorn says that it shuts down, and ends by
        the signal that it was sent (`Server.capture_signals`).
        """
        if self.reload or self.killed or "INFO:     Shutting down" in self.said:
            return False
        asked = -signal.SIGTERM if os.name == "posix" else 1
        return self.process.returncode != asked

    def _why(self) -> str:
        if errors := raised(self.said):
            error, place = errors[-1]
            return f"{self.app} failed with {error}{at_place(place)}."
        for signs in NO_START, "ERROR:", "":
            if wrong := [x for x in self.said if x.startswith(signs)]:
                return wrong[-1].removeprefix("ERROR:").strip()
        return f"{self.app} said nothing."


def _guard(leader: int) -> subprocess.Popen[bytes] | None:
    """A process that ends a process group when we are gone, whatever ended us.

    It waits for the end of a pipe that only we hold. Windows has no such groups.
    """
    if os.name != "posix":
        return None
    code = f"read line; kill -TERM -{leader}; sleep {STOP:g}; kill -KILL -{leader}"
    none = subprocess.DEVNULL
    return subprocess.Popen(
        ["/bin/sh", "-c", code],
        stdin=subprocess.PIPE,
        stdout=none,
        stderr=none,
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process that we started, and those that it has started."""
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _ending(code: int) -> str:
    """How a process has ended, in words."""
    if code >= 0:
        return f"with exit code {code}"
    with suppress(ValueError):
        return f"by the signal {signal.Signals(-code).name}"
    return f"by signal {-code}"


AT = re.compile(r'\s+File "([^<].*)", line (\d+)')


def raised(said: list[str]) -> list[tuple[str, Place | None]]:
    """The exceptions in what was said, each with the innermost line of the reader's."""
    found: list[tuple[str, Place | None]] = []
    inside, place = False, None
    for line in said:
        if "Traceback (most recent call last):" in line:
            inside, place = True, None
        elif at := AT.match(line):
            if inside and not at[1].startswith(LIBRARIES):
                place = Place(at[1], int(at[2]))
        elif inside and line and not line[0].isspace():
            inside = False
            found.append((line, place))
    return found
