"""The command line, tried on a small project that needs no network."""

import ast
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lessons_support.__main__ import SIDE_BY_SIDE
from lessons_support.environment import Environment

PACKAGE = Path(__file__).resolve().parent.parent / "lessons_support"
LIMIT = 180  # seconds until a command that hangs is ended
STAND_IN = "stand_in-1-py3-none-any.whl"
METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
    "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "",
}
SET_UP = "Setting the course up"


def make_project(folder):
    """Write a clone whose JupyterLab and pytest are stand-ins that echo arguments."""
    shutil.copytree(PACKAGE, folder / "lessons_support")
    (folder / "notebooks").mkdir()
    for lesson in "2.1-later.ipynb", "1.1-first.ipynb":
        (folder / "notebooks" / lesson).write_text('{"cells": []}')
    (folder / "pyproject.toml").touch()
    (folder / "requirements.txt").write_text(f"./{STAND_IN}\n")
    echo = "import sys; print({!r}, *sys.argv[1:]); sys.exit(7)"
    programs = {f"{x}.py": echo.format(x) for x in ("jupyterlab", "pytest")}
    make_wheel(folder / STAND_IN, programs)
    return folder


def make_wheel(path, programs):
    name, version, *_ = path.name.split("-")
    folder = f"{name}-{version}.dist-info"
    metadata = {f"{folder}/{x}": y.format(name=name) for x, y in METADATA.items()}
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in (programs | metadata).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16  # of use to a script only
            wheel.writestr(entry, text)


def make_uv(project, program):
    """Give a project a stand-in for uv, and return the file by which it tells."""
    wheel = project / "uv-1-py3-none-any.whl"
    trace = project / "uv-was-here"
    first = f"#!python\nopen({str(trace)!r}, 'w').close()\n"
    make_wheel(wheel, {"uv-1.data/scripts/uv": first + program})
    group = f'[dependency-groups]\nuv = ["uv @ {wheel.as_uri()}"]\n'
    (project / "pyproject.toml").write_text(group)
    return trace


def start(project, *arguments, python=None, stdin=None, **variables):
    """Start the command line with the Python outside, as a learner does."""
    settings = "PIP", "PYTHON"
    environment = {x: y for x, y in os.environ.items() if not x.startswith(settings)}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", **variables}
    return subprocess.Popen(
        [python or sys._base_executable, *arguments],
        cwd=project,
        env={name: x for name, x in environment.items() if x is not None},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(project, *arguments, **options):
    """Return the exit code of `-m lessons_support`, and all that it printed."""
    return finish(start(project, "-m", "lessons_support", *arguments, **options))


def finish(process):
    try:
        printed, _ = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
        process.wait()
    return process.returncode, printed


def one_sentence(printed):
    return printed.strip().count("\n") == 0 and "Traceback" not in printed


needs_pip = pytest.mark.skipif(
    subprocess.run([sys._base_executable, "-m", "pip"], capture_output=True).returncode,
    reason="the Python outside the environment has no pip",
)


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    project = make_project(tmp_path_factory.mktemp("ready"))
    code, printed = run(project, "test")
    assert code == 7, printed
    assert SET_UP in printed
    return project


@needs_pip
def test_a_second_run_reuses_the_first(ready):
    code, printed = run(ready, "test", "-k", "two words")
    assert (code, printed) == (7, f"pytest {' '.join(SIDE_BY_SIDE)} -k two words\n")


@needs_pip
def test_opening_shows_the_first_lesson(ready):
    code, printed = run(ready, "--no-browser")
    assert code == 7
    own = ready / "my-lessons"
    assert printed.startswith(f"jupyterlab --ServerApp.root_dir={own} ")
    assert (own / "1.1-first.ipynb").is_file()
    assert "default_url=/lab/tree/1.1-first.ipynb " in printed
    assert printed.endswith("--no-browser\n")
    assert run(ready, "open", "--no-browser") == (code, printed)


@needs_pip
def test_opening_keeps_what_the_learner_has_written_and_says_so(ready):
    lesson = "2.1-later.ipynb"
    run(ready)
    (ready / "my-lessons" / lesson).write_text("mine")
    (ready / "notebooks" / lesson).write_text('{"cells": [], "newer": 1}')
    older = f"{ready / 'my-lessons' / lesson} is older than the course's lesson."
    assert older not in run(ready)[1]  # for a reader it is the same
    cell = '{"cell_type": "markdown", "source": "new"}'
    (ready / "notebooks" / lesson).write_text(f'{{"cells": [{cell}]}}')
    code, printed = run(ready)
    assert code == 7
    assert printed.startswith(older)
    assert f"{lesson} is older than" in run(ready, "progress")[1]
    (ready / "notebooks" / "1.1-first.ipynb").write_text(LESSON)
    assert "Renewed, as the course is newer: 1.1-first.ipynb.\n" in run(ready)[1]
    assert (ready / "my-lessons" / lesson).read_text() == "mine"


@needs_pip
@pytest.mark.skipif(os.name == "nt", reason="there the folder is not held")
def test_a_second_start_says_where_the_first_one_is(project):
    waits = "import sys; print('at work', flush=True); sys.stdin.read()"
    lists = "import sys; print(*sys.argv[1:])"
    make_wheel(project / STAND_IN, {"jupyterlab.py": waits, "jupyter.py": lists})
    run(project, "progress")
    first = start(project, "-m", "lessons_support", stdin=subprocess.PIPE)
    while "at work" not in first.stdout.readline():
        assert first.poll() is None
    code, printed = run(project)
    assert code == 0
    assert printed.startswith("The course is open already; Ctrl-C")
    assert printed.endswith("\nserver list\n")
    finish(first)
    assert "open already" not in run(project)[1]


def test_without_its_m_the_line_says_how_to_write_it(project):
    code, printed = finish(start(project, "lessons_support", "progress"))
    assert code == 1
    assert one_sentence(printed), printed
    assert "python3 -m lessons_support" in printed


def test_copies_for_a_class_need_no_set_up(project):
    where = f"The lessons are in {project / 'deep' / 'down'}.\n"
    assert run(project, "copy", "deep/down") == (0, where)
    names = {x.name for x in (project / "deep" / "down").iterdir()}
    assert names == {".given.json", "1.1-first.ipynb", "2.1-later.ipynb"}
    (project / "file").touch()
    for wrong in ([], ["a", "b"], ["file"]):
        code, printed = run(project, "copy", *wrong)
        assert code == 1
        assert one_sentence(printed), printed
    assert not (project / ".venv").exists()


LESSON = """{"cells": [
    {"cell_type": "markdown", "source": "# 1.1 First"},
    {"cell_type": "markdown", "source": "### Exercise 1.1a — One"},
    {"cell_type": "markdown", "source": "### Exercise 1.1b — Two"}
]}"""


def test_progress_is_that_of_the_folder_that_is_given(project):
    (project / "notebooks" / "1.1-first.ipynb").write_text(LESSON)
    assert run(project, "progress") == (0, "No lesson has been opened yet.\n")
    run(project, "copy", "class/ann")
    own = project / "class" / "ann"
    row = "w,1.1-first,1.1a,2,2,3.0"
    (own / "progress.csv").write_text(f"when,lesson,exercise,held,asked,minutes\n{row}")
    for folder in ("class/ann", "class/ann/", str(own)):
        code, printed = run(project, "progress", folder)
        assert code == 0
        assert "1 of 2 done     3 min\n" in printed
        assert "Go on with exercise 1.1b, in 1.1-first.ipynb.\n" in printed
    assert run(project, "progress") == (0, "No lesson has been opened yet.\n")
    shutil.copy(own / "progress.csv", project / "notebooks")  # as on Binder
    assert "1 of 2 done     3 min\n" in run(project, "progress")[1]
    run(project, "copy", "my-lessons")
    shutil.copy(own / "progress.csv", project / "my-lessons")
    (project / "notebooks" / "progress.csv").write_text("")
    assert "1 of 2 done     3 min\n" in run(project, "progress")[1]
    assert not (project / ".venv").exists()


def test_progress_says_what_is_wrong_with_a_folder_in_one_sentence(project):
    (project / "file").touch()
    for wrong in (["nowhere"], ["file"], ["a", "b"], ["--all"]):
        code, printed = run(project, "progress", *wrong)
        assert code == 1
        assert one_sentence(printed), printed
    (project / "empty").mkdir()
    nothing = f"There are no lessons in {project / 'empty'}.\n"
    assert run(project, "progress", "empty") == (0, nothing)


@needs_pip
def test_inside_the_environment_nothing_is_set_up(ready):
    inside = ready / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    mark = ready / ".venv" / "made-by-lessons-support"
    stamp = mark.read_text()
    mark.write_text("")
    all_tests = " ".join(["pytest", *SIDE_BY_SIDE]) + "\n"
    assert run(ready, "test", python=inside) == (7, all_tests)
    mark.write_text(stamp)


@needs_pip
def test_a_new_lock_is_installed_afresh(ready):
    left_over = ready / ".venv" / "left-over"
    left_over.touch()
    (ready / "requirements.txt").write_text(f"./{STAND_IN}  # renewed\n")
    code, printed = run(ready, "test")
    assert code == 7
    assert SET_UP in printed
    assert not left_over.exists()


@needs_pip
@pytest.mark.skipif(os.name == "nt", reason="a process group stands for the terminal")
def test_an_interrupted_set_up_is_healed_by_the_next(project):
    (project / "requirements.txt").write_text("never-answered\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(LIMIT)
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        options = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": index, "no_proxy": "*"}
        process = start(project, "-m", "lessons_support", "test", **options)
        connection, _ = silent.accept()
        os.killpg(process.pid, signal.SIGINT)
        code, printed = finish(process)
        connection.close()
    assert code == 130
    assert printed.endswith("The set-up was stopped; the same line starts it again.\n")
    assert "Traceback" not in printed
    (project / "requirements.txt").write_text(f"./{STAND_IN}\n")
    code, printed = run(project, "test")
    assert code == 7
    assert SET_UP in printed


@needs_pip
def test_two_first_runs_at_once_install_once(project):
    both = [start(project, "-m", "lessons_support", "test") for _ in range(2)]
    codes, printed = zip(*map(finish, both), strict=True)
    assert codes == (7, 7), printed
    assert sum(SET_UP in text for text in printed) == 1


@needs_pip
def test_without_a_network_one_sentence_says_what_to_do(project):
    (project / "requirements.txt").write_text("not-to-be-had\n")
    nowhere = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/"}
    code, printed = run(project, "test", PIP_RETRIES="0", **nowhere)
    assert code == 1
    assert "check the network, then run the same line again" in printed
    assert one_sentence(printed.partition("\n")[2])


@needs_pip
def test_what_installs_nothing_else_keeps_the_environment(project):
    settings = project / "pyproject.toml"
    run(project, "test")
    settings.write_text("[tool.ruff]\nline-length = 88  # a comment too\n")
    assert SET_UP not in run(project, "test")[1]
    settings.write_text('[project]\ndependencies = ["another"]\n')
    assert SET_UP in run(project, "test")[1]


@needs_pip
def test_the_environment_stays_until_there_is_a_new_one(project):
    requirements = project / "requirements.txt"
    run(project, "test")
    before = requirements.read_text()
    requirements.write_text("not-to-be-had\n")
    assert run(project, "test")[0] == 1
    requirements.write_text(before)
    code, printed = run(project, "test")
    assert code == 7
    assert SET_UP not in printed
    assert not (project / ".venv" / "former").exists()


@needs_pip
@pytest.mark.skipif(os.name == "nt", reason="there the environment is not held")
def test_nothing_is_renewed_below_what_is_at_work(project):
    waits = "import sys; print('at work', flush=True); sys.stdin.read(); import pytest"
    make_wheel(
        project / STAND_IN, {"jupyterlab.py": waits, "pytest.py": "print('end')"}
    )
    run(project, "test")
    at_work = start(project, "-m", "lessons_support", stdin=subprocess.PIPE)
    assert at_work.stdout.readline() == "at work\n"
    (project / "requirements.txt").write_text(f"./{STAND_IN}  # renewed\n")
    code, printed = run(project, "test")
    assert code == 1
    assert one_sentence(printed)
    assert "the course is open or at work: end that" in printed
    assert finish(at_work) == (0, "end\n")
    assert SET_UP in run(project, "test")[1]


UNPACKS = f"""
import sys, sysconfig, zipfile
zipfile.ZipFile({STAND_IN!r}).extractall(sysconfig.get_path("purelib"))
"""
# It has put half a package there, whose name says that it is whole, when it fails.
FAILS = """
import pathlib, sys, sysconfig
half = pathlib.Path(sysconfig.get_path("purelib"), "stand_in-1.dist-info")
half.mkdir()
(half / "METADATA").write_text("Metadata-Version: 2.1\\nName: stand-in\\nVersion: 1\\n")
sys.exit(2)
"""
# pip is then as most people have it. What is installed here needs no index.
UNSET = {"PIP_NO_INDEX": None}


@needs_pip
@pytest.mark.skipif(os.name == "nt", reason="the stand-in for uv is a script")
def test_uv_installs_the_packages(project):
    trace = make_uv(project, UNPACKS)
    assert run(project, "test", **UNSET)[0] == 7
    assert trace.exists()
    log = (project / ".venv" / "installation.log").read_text()
    assert "stand_in" not in log, "pip was asked too"


@needs_pip
@pytest.mark.skipif(os.name == "nt", reason="the stand-in for uv is a script")
def test_where_uv_fails_pip_installs_the_packages_from_the_beginning(project):
    trace = make_uv(project, FAILS)
    code, printed = run(project, "test", **UNSET)
    assert code == 7, printed
    assert trace.exists()
    assert "Traceback" not in printed


@needs_pip
@pytest.mark.parametrize(
    "settings", [{"PIP_INDEX_URL": "http://127.0.0.1:9/"}, {"PIP_PROXY": "here:9"}, {}]
)
def test_where_pip_has_an_index_of_its_own_uv_is_not_asked(settings, project):
    trace = make_uv(project, UNPACKS)
    assert run(project, "test", **settings)[0] == 7
    assert not trace.exists()


def test_an_environment_of_somebody_else_is_left_alone(project):
    theirs = project / ".venv" / "pyvenv.cfg"
    theirs.parent.mkdir()
    theirs.write_text("theirs")
    code, printed = run(project, "test")
    assert code == 1
    assert "left as it is" in printed
    assert one_sentence(printed)
    assert [path.name for path in theirs.parent.iterdir()] == ["pyvenv.cfg"]
    assert theirs.read_text() == "theirs"


def test_an_environment_behind_a_link_is_left_alone(project, tmp_path_factory):
    theirs = tmp_path_factory.mktemp("another-clone")
    (theirs / "made-by-lessons-support").write_text("for another clone")
    (theirs / "package").touch()
    (project / ".venv").symlink_to(theirs)
    code, printed = run(project, "test")
    assert code == 1
    assert "left as it is" in printed
    assert one_sentence(printed)
    assert {x.name for x in theirs.iterdir()} == {"made-by-lessons-support", "package"}


def test_without_pip_one_sentence_says_what_to_do(project):
    # -S leaves out the folder in which pip would be.
    code, printed = finish(start(project, "-S", "-m", "lessons_support"))
    assert code == 1
    assert "has no pip: install it" in printed
    assert one_sentence(printed)
    assert not (project / ".venv").exists()


def test_where_nothing_may_be_written_a_sentence_asks_for_a_clone(project, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SystemExit, match="in a clone of your own"):
        Environment(project).prepare()


def test_what_somebody_else_has_set_up_can_be_run(project, monkeypatch):
    def as_a_reader(path, flags, *mode):
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise PermissionError(path)
        opened.append(real(path, flags, *mode))
        return opened[-1]

    opened, real = [], os.open
    (project / ".venv").mkdir()
    monkeypatch.setattr(os, "open", as_a_reader)
    Environment(project)._hold()
    for file in opened:
        os.close(file)


def test_help_and_a_wrong_word_set_nothing_up(project):
    for command in ([], ["copy"], ["progress"], ["site"]):
        code, printed = run(project, *command, "--help")
        assert (code, printed[:22]) == (0, "Set the course up, onc")
    assert run(project, "tset") == (
        1,
        "There is no command tset: see python3 -m lessons_support --help.\n",
    )
    assert not (project / ".venv").exists()


PRETEND_TO_BE_OLD = """
import runpy, sys
sys.version_info = (3, 8, 18)
runpy.run_module("lessons_support", run_name="__main__")
"""


def old_pythons():
    """Yield this Python under an old number, and the old ones that are on the PATH."""
    yield sys.executable, "-c", PRETEND_TO_BE_OLD
    for version in "2.7", "3.6", "3.7", "3.8", "3.9", "3.10":
        found = shutil.which(f"python{version}")
        if found and not subprocess.run([found, "-V"], capture_output=True).returncode:
            yield found, "-m", "lessons_support"


def test_an_old_python_gets_one_sentence(project):
    for python, *arguments in old_pythons():
        code, printed = finish(start(project, *arguments, python=python))
        assert code == 1, python
        assert "needs Python 3.11 or newer and this is Python" in printed
        assert one_sentence(printed)


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_what_an_old_python_reads_first_has_no_new_syntax(name):
    source = (PACKAGE / name).read_bytes()
    assert source.isascii()
    ast.parse(source, feature_version=(3, 4))
    new = ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, new)]
