"""A process that has imported what lessons need, and forks a kernel for each run.

So a kernel starts in a tenth of the time, and yet shares nothing with others that it
could change: each fork joins a box of its own before anything of an answer is in it.
This process itself runs nothing but the course's imports. It has a single thread.

It reads lines of JSON from its standard input, a socket: ``{"box": pid, "key": text}``;
and writes the kernel's process number for each. It ends with its input.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from lessons_support.grading.box import HOME, SOCKETS, guest, limit

NAMESPACES, USER_NAMESPACE = 0x6E020000, 0x10000000
"""CLONE_NEW… of cgroup, uts, ipc, pid, net and mount; and of user (sched.h)."""

CHILDREN_COME_HERE, NO_NEW_PRIVILEGES, DROP_BOUND, AMBIENT = 36, 38, 24, 47
"""PR_… (linux/prctl.h)."""

STATE = f"{SOCKETS}/state"
"""A file that is there once a kernel listens, or cannot: then it says why."""

PORTS = {f"{x}_port": n for n, x in enumerate(("shell", "iopub", "stdin", "hb"), 1)}
PORTS["control_port"] = 5

ENVIRONMENT = {
    "HOME": HOME,
    "PATH": os.pathsep.join((os.path.dirname(sys.executable), "/usr/bin", "/bin")),
    "LANG": "C.UTF-8",
    "IPYTHONDIR": f"{HOME}/.ipython",
    "JUPYTER_RUNTIME_DIR": SOCKETS,
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MPLCONFIGDIR": f"{HOME}/.matplotlib",
    "OPENBLAS_NUM_THREADS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}

OF_A_KERNEL = """\
import IPython.core.completerlib, IPython.core.debugger, IPython.core.oinspect
import IPython.extensions.storemagic, ipykernel.debugger, ipykernel.displayhook
import ipykernel.iostream, ipykernel.kernelapp, ipykernel.zmqshell
import tornado.platform.asyncio
import lessons_support.serving, uvicorn.protocols.http.auto, uvicorn.lifespan.on"""
"""What a kernel imports while it starts: of its time, the debugger takes a half. And
what the course imports at first use."""

libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def main(imports: list[str]) -> None:
    """Import, then fork a kernel for each line read."""
    warm_up(imports)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a kernel ended
    _done(libc.prctl(CHILDREN_COME_HERE, 1, 0, 0, 0))
    with socket.socket(fileno=0) as asker, asker.makefile("rw") as lines:
        for line in lines:
            print(_fork(json.loads(line), asker), file=lines, flush=True)


def warm_up(imports: list[str]) -> None:
    """Import what kernels and lessons need, and draw a chart: that loads the fonts."""
    for statement in (*OF_A_KERNEL.splitlines(), *imports):
        with suppress(ImportError):
            exec(statement, {})
    from lessons_support import check, draw, record, rehearse

    with record() as timeline:
        check(rehearse(asyncio.sleep, 1).elapsed == 1, "the course is installed")
    draw(timeline)._repr_mimebundle_()
    gc.collect()
    gc.freeze()


def _fork(wanted: dict[str, Any], asker: socket.socket) -> int:
    """Fork into a box, then once more: only a child is in its process namespace."""
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            _join(wanted["box"])
            pid = os.fork()
            if pid == 0:
                asker.detach()
                _become_kernel(wanted["key"])
            os.write(write, str(pid).encode())
        finally:
            os._exit(1)
    os.close(write)
    with open(read) as answer:
        return int(answer.read() or 0)


def _join(pid: int) -> None:
    box = os.pidfd_open(pid)
    # Root's box shares the users of the machine: in it root becomes nobody.
    users = USER_NAMESPACE if guest() is None else 0
    _done(libc.setns(box, NAMESPACES | users))
    os.close(box)


def _become_kernel(key: str) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.closerange(3, 4096)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        _drop_privileges()
        limit()
        os.chdir(HOME)
        os.environ.clear()
        os.environ.update(ENVIRONMENT)
        _run_kernel(key)
    except Exception as error:
        Path(STATE).write_text(f"{type(error).__name__}: {error}")


def _drop_privileges() -> None:
    """Give up all capabilities, for this process and any that it starts."""
    if (nobody := guest()) is not None:
        os.setgroups([])
        os.setresgid(nobody, nobody, nobody)
    _done(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    for capability in range(64):
        libc.prctl(DROP_BOUND, capability, 0, 0, 0)
    libc.prctl(AMBIENT, 4, 0, 0, 0)  # clear all
    if nobody is not None:
        os.setresuid(nobody, nobody, nobody)
    version_3, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _done(libc.capset(version_3, none))


def _run_kernel(key: str) -> None:
    from ipykernel.kernelapp import IPKernelApp
    from traitlets.config import Config

    settings = Config()
    settings.HistoryManager.enabled = False
    settings.Session.key = key.encode()
    settings.IPKernelApp.log_level = "CRITICAL"
    place = {"ip": f"{SOCKETS}/k", "connection_file": f"{SOCKETS}/kernel.json"}
    app = IPKernelApp.instance(config=settings, transport="ipc", **place, **PORTS)
    app.initialize([])
    Path(STATE).touch()
    app.start()


def _done(code: int) -> None:
    if code != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(sys.argv[1:])
