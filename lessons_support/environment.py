"""The course's own virtual environment: made once, locked while it is made."""

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

ON_WINDOWS = os.name == "nt"


@dataclass(frozen=True)
class Environment:
    """The folder .venv of a project, with the packages its requirements.txt names."""

    project: Path

    @classmethod
    def here(cls):
        """Return the environment of the clone that this file belongs to."""
        return cls(Path(__file__).resolve().parent.parent)

    @property
    def folder(self):
        return self.project / ".venv"

    @property
    def mark(self):
        """The file that says that the folder is ours, and what it was completed for."""
        return self.folder / "made-by-lessons-support"

    @property
    def _log(self):
        return self.folder / "installation.log"

    @property
    def _former(self):
        return self.folder / "former"

    @property
    def _in_use(self):
        """The file that whatever runs in the environment holds a lock on."""
        return self.folder / "in-use"

    @property
    def scripts(self):
        return self.folder / ("Scripts" if ON_WINDOWS else "bin")

    @property
    def python(self):
        return self.scripts / ("python.exe" if ON_WINDOWS else "python")

    def is_running(self):
        return Path(sys.prefix).resolve() == self.folder.resolve()

    def is_ready(self):
        return (
            self.python.exists()
            and self.mark.is_file()
            and self.mark.read_text() == self.fingerprint()
        )

    def is_foreign(self):
        if self.folder.is_symlink():  # what lies behind it may be another clone's
            return True
        if not self.folder.is_dir():
            return os.path.lexists(self.folder)
        # Look for the mark last: another run may be making it, as its first file.
        return any(self.folder.iterdir()) and not self.mark.is_file()

    def fingerprint(self):
        """Return a digest of all that the installed packages depend on."""
        digest = hashlib.sha256((self.project / "requirements.txt").read_bytes())
        settings = self._settings()
        built = settings.get("build-system"), settings.get("tool", {}).get("hatch")
        # The installed course is a link to this folder: a moved clone starts again.
        where = platform.python_version(), str(self.project)
        digest.update(repr((settings.get("project"), built, where)).encode())
        return digest.hexdigest()

    def _settings(self):
        return tomllib.loads((self.project / "pyproject.toml").read_text("utf-8"))

    def run(self, module, *arguments, folder=None):
        """Prepare the environment, then become `python -m module` inside it.

        It works in the project's folder, or in one given, from which it imports
        nothing: who knows what lies there.
        """
        self.prepare()
        self._hold()
        os.chdir(folder or self.project)
        # So `python` is this one in a notebook's `!python` and JupyterLab's terminal.
        os.environ["PATH"] = f"{self.scripts}{os.pathsep}{os.environ.get('PATH', '')}"
        # A kernel of the same name that the user has elsewhere must not win.
        os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
        safely = ("-P",) if folder else ()
        become(str(self.python), *safely, "-m", module, *arguments)

    def prepare(self):
        """Make the environment unless it is ready; exit with a sentence on failure."""
        if self.is_running() or self.is_ready():
            return
        self._refuse_what_cannot_work()
        try:
            self.folder.mkdir(exist_ok=True)
            with self.mark.open("a+") as mark, self._in_use.open("a") as in_use:
                wait_for_lock(mark)
                if not self.is_ready():
                    self._refuse_while(in_use)
                    self._make(mark)
        except OSError as error:
            sys.exit(f"\nThe set-up failed: {error}.")
        except KeyboardInterrupt:
            print("\nThe set-up was stopped; the same line starts it again.")
            sys.exit(130)

    def _refuse_what_cannot_work(self):
        if not (self.project / "requirements.txt").is_file():
            sys.exit(f"{self.project} is not a clone of the course: run this in one.")
        if not os.access(self.project, os.W_OK):
            sys.exit(
                f"The course has to be set up, and you may not write into "
                f"{self.project}: run the same line in a clone of your own."
            )
        if self.is_foreign():
            sys.exit(
                f"{self.folder} was made by something else and is left as it is: "
                "move it away, then run the same line again."
            )
        if importlib.util.find_spec("pip") is None:
            sys.exit(
                f"{sys.executable} has no pip: install it (on Debian and Ubuntu with "
                "`sudo apt install python3-pip`), then run the same line again."
            )

    def _hold(self):
        """Until this process ends, keep others from renewing the environment."""
        if not ON_WINDOWS:
            import fcntl

            # To read it is enough, where somebody else has set the course up.
            file = os.open(self._in_use, os.O_CREAT | os.O_RDONLY)
            fcntl.flock(file, fcntl.LOCK_SH)
            os.set_inheritable(file, True)

    @staticmethod
    def _refuse_while(in_use):
        try:
            lock(in_use)
        except (BlockingIOError, PermissionError):
            sys.exit(
                "There are newer packages, but the course is open or at work: end that "
                "(Ctrl-C where it was started), then run the same line again."
            )

    def _make(self, mark):
        print("Setting the course up, once, in a minute or two ", end="", flush=True)
        fingerprint = self.fingerprint()
        self._set_aside(mark)
        try:
            if not self._install_with_uv(mark):
                self._install_with_pip(mark)
        except BaseException:
            self._put_back(mark)
            raise
        remove(self._former)
        # Last of all, so that a set-up that was interrupted never passes for complete.
        mark.write(fingerprint)
        print(" done.", flush=True)

    def _set_aside(self, mark):
        """Keep an environment that is complete until the new one is."""
        mark.seek(0)
        complete_for = mark.read()
        mark.truncate(0)
        self._log.unlink(missing_ok=True)
        if complete_for:
            remove(self._former)
            self._former.mkdir()
            for path in self._contents():
                path.rename(self._former / path.name)
            (self._former / self.mark.name).write_text(complete_for)

    def _put_back(self, mark):
        if (self._former / self.mark.name).exists():
            remove(*self._contents())
            complete_for = (self._former / self.mark.name).read_text()
            (self._former / self.mark.name).unlink()
            for path in self._former.iterdir():
                path.rename(self.folder / path.name)
            self._former.rmdir()
            mark.write(complete_for)

    def _contents(self):
        own = self.mark, self._in_use, self._log, self._former
        return [path for path in self.folder.iterdir() if path not in own]

    def _lay_out(self):
        """Begin afresh, because pip trusts what an interrupted run left there."""
        remove(*self._contents())
        # Debian's Python may have no pip to put inside; the one outside will do.
        venv.create(self.folder, symlinks=not ON_WINDOWS, with_pip=False)

    def _install_with_uv(self, mark):
        """Return whether uv, several times faster than pip, could install it all."""
        uv = self._settings().get("dependency-groups", {}).get("uv", [])
        if not uv or pip_has_ways_of_its_own():
            return False
        self._lay_out()
        if self._call(mark, *self._pip, "--only-binary=:all:", *uv) != 0:
            return False
        command = [shutil.which("uv", path=self.scripts), "pip", "install"]
        command += ["--python", str(self.python), "--compile-bytecode"]
        return self._call(mark, *command, "--requirement=requirements.txt") == 0

    def _install_with_pip(self, mark):
        self._lay_out()
        if self._call(mark, *self._pip, "--requirement=requirements.txt") != 0:
            sys.exit(
                "\nThe packages could not be installed: check the network, then run "
                f"the same line again (what pip said is in {self._log})."
            )

    @property
    def _pip(self):
        command = [sys.executable, "-m", "pip", "--python", str(self.python)]
        command += ["--no-input", "--disable-pip-version-check"]
        return [*command, "install", "--no-user"]

    def _call(self, mark, *command):
        """Run what installs, with its words in the log, and return its exit code."""
        with (
            self._log.open("ab") as log,
            subprocess.Popen(
                command,
                cwd=self.project,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # It holds the lock too, should this process be killed before it.
                pass_fds=() if ON_WINDOWS else (mark.fileno(),),
            ) as installer,
        ):
            for line in installer.stdout:
                log.write(line)
                if line.strip().startswith((b"Collecting", b"Downloaded")):
                    print(".", end="", flush=True)
        return installer.returncode


def pip_has_ways_of_its_own():
    """Whether pip was told of an index or a proxy, of which uv would know nothing."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(command, capture_output=True, text=True).stdout
    return re.search(r"\.(index-url|no-index|proxy)=", told) is not None


def remove(*paths):
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def wait_for_lock(file):
    """Lock an open file; the system unlocks it however the process ends."""
    waiting = False
    while True:
        try:
            return lock(file)
        except (BlockingIOError, PermissionError):
            if not waiting:
                print("Another run is setting the course up: waiting.", flush=True)
            waiting = True
            time.sleep(0.2)


def lock(file):
    """Lock an open file for this process, or raise at once if another holds it.

    Where there are descriptors of folders, a folder's will do.
    """
    if ON_WINDOWS:
        import msvcrt

        # Windows also forbids reading what is locked, so this is beyond the text.
        os.lseek(file.fileno(), 1_000_000, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_ours(folder):
    """Hold a folder until this process ends; False if another process holds it."""
    if ON_WINDOWS:
        return True
    place = os.open(folder, os.O_RDONLY)
    os.set_inheritable(place, True)
    try:
        lock(place)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system that knows no locks
    return True


def become(*command):
    """Hand this process over to a command: Ctrl-C and the exit code are its own."""
    sys.stdout.flush()  # what waits to be written would go with this program
    if not ON_WINDOWS:
        try:
            os.execv(command[0], command)
        except OSError as error:
            why = f"{command[0]} cannot be run: {error.strerror}."
            sys.exit(f"{why} Delete the folder .venv, then start again.")
    # On Windows exec returns to the prompt at once, so stay, and pass the code on.
    with subprocess.Popen(command) as child:
        while True:
            try:
                sys.exit(child.wait())
            except KeyboardInterrupt:
                continue
