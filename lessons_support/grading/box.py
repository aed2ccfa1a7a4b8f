"""The box around a kernel: what it sees of the machine, and how much it may use.

bubblewrap makes it: namespaces of its own for processes, files, network, users. The
machine is read-only and mostly absent, the network is the box's own loopback, and all
that is written is in memory and gone with the box.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
HOME, SOCKETS = "/tmp", "/run"
"""The box's own folders: the working one, and the one for the kernel's sockets."""

MB = 1_000_000
DISK, MEMORY, PROCESSES, CPU_SECONDS = 64 * MB, 1_000 * MB, 64, 120
"""What a process may use: bytes written, bytes of memory, and processor time; a box may
use twice the memory, and start so many processes."""

THREADS = 2_000
"""Of all boxes together: what stops a flood of processes until its box is ended."""

AS_USER = ("--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000")
ETC = ("/etc/ld.so.cache", "/etc/hosts", "/etc/nsswitch.conf", "/etc/localtime")


class NoBox(RuntimeError):
    """There is no box on this machine, and why."""


def why_not() -> str:
    """Why kernels cannot be boxed on this machine: a sentence, or "" if they can."""
    if sys.platform != "linux":
        return "Only Linux has boxes (bubblewrap)."
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (on Debian and Ubuntu: bubblewrap)."
    try:
        Box().close()
    except NoBox as error:
        return str(error)
    return ""


def guest() -> int | None:
    """As whom root runs kernels: nobody. Other users need no such thing."""
    if os.geteuid() != 0:
        return None
    import pwd

    return pwd.getpwnam("nobody").pw_uid


class Box:
    """An empty box, to be joined by a kernel. Whatever is in it ends with it.

    What bubblewrap runs in it is `cat`, which does nothing until its input ends.
    """

    def __init__(self) -> None:
        """Make the box; raises NoBox with what bubblewrap says."""
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [*command(), "--info-fd", str(write), "--", "/bin/cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=[write],
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath)},
        )
        os.close(write)
        with open(read, encoding="utf-8") as info:
            self.inside = json.loads(info.read() or "{}").get("child-pid", 0)
        with suppress(BrokenPipeError):
            self.process.stdin.write(b".")
        if self.process.stdout.read(1) != b".":  # else the box is complete
            said = self.process.stderr.read().decode(errors="replace").strip()
            self.close()
            raise NoBox(f"bubblewrap cannot make a box here: {said}.")

    @property
    def root(self) -> Path:
        """The folder / of the box, as seen from outside."""
        return Path(f"/proc/{self.inside}/root")

    def is_open(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        """End every process in the box; with them all that is in it is gone."""
        if not self.inside:
            self.process.kill()
        elif self.is_open():
            # Its first process must go first, or nobody would wait for it.
            with suppress(ProcessLookupError):
                os.kill(self.inside, signal.SIGKILL)
        self.process.wait()
        for pipe in self.process.stdin, self.process.stdout, self.process.stderr:
            pipe.close()

    def excess(self) -> str:
        """Of what the box uses more than it may as a whole: a sentence, or ""."""
        pages = processes = 0
        for place in self.root.glob("proc/[0-9]*/statm"):
            with suppress(OSError):  # it has just ended
                _, resident, shared, *_ = map(int, place.read_text().split())
                pages, processes = pages + resident - shared, processes + 1
        if processes > PROCESSES:
            return f"It started more than {PROCESSES} processes."
        if pages * os.sysconf("SC_PAGE_SIZE") > 2 * MEMORY:
            return f"It used more than {2 * MEMORY // MB:,} MB of memory."
        return ""


def command() -> list[str]:
    """The command line that makes a box and runs what is added to it."""
    seen = [Path(x) for x in (sys.prefix, sys.base_prefix, PACKAGE)]
    seen += [x.resolve() for x in seen]  # links lead nowhere in a box
    return [
        *("bwrap", "--die-with-parent", "--new-session", "--clearenv"),
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
        *("--unshare-cgroup", "--hostname", "box", "--cap-drop", "ALL"),
        *(AS_USER if guest() is None else ()),
        # First the box's own folders: Python may be below one of the same name.
        *_in_memory(HOME, DISK),
        *_in_memory(SOCKETS, MB),
        *(part for x in sorted(Path("/").iterdir()) for part in _system(x)),
        *(part for x in ETC for part in ("--ro-bind-try", x, x)),
        *(part for x in sorted({*seen}) for part in _read_only(x)),
        *("--proc", "/proc", "--dev", "/dev", *_in_memory("/dev/shm", DISK)),
        *("--remount-ro", "/dev", "--remount-ro", "/"),
    ]


def _in_memory(folder: str, most: int) -> tuple[str, ...]:
    return "--perms", "1777", "--size", str(most), "--tmpfs", folder


def _read_only(path: Path) -> list[str]:
    """Bind a path, below folders that everybody may pass."""
    passed = (("--perms", "0755", "--dir", str(x)) for x in reversed(path.parents[:-1]))
    return [part for x in passed for part in x] + ["--ro-bind", str(path), str(path)]


def _system(path: Path) -> list[str]:
    """A folder of the system's programs and libraries, which may be a link."""
    if path.name not in ("usr", "bin", "sbin") and not path.name.startswith("lib"):
        return []
    if path.is_symlink():
        return ["--symlink", os.readlink(path), str(path)]
    return _read_only(path) if path.is_dir() else []


def limit() -> None:
    """Limit this process, and each that it starts, for good."""
    import resource

    for name, most in (
        ("DATA", MEMORY),
        ("AS", 4 * MEMORY),
        ("CPU", CPU_SECONDS),
        ("FSIZE", DISK // 4),
        ("NOFILE", 512),
        ("NPROC", THREADS),
        ("CORE", 0),
    ):
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
