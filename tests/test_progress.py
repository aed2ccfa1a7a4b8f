"""Progress: noted in a kernel of JupyterLab's, nowhere else; read back as a table."""

import asyncio
import csv
import shutil

import nbformat
import pytest
from kernels import kernel
from lessons import NOTEBOOKS, exercises, read

from lessons_support.progress import FILE, lessons, table, to_go_on_with

[PATH] = [x for x in NOTEBOOKS if x.name.startswith("2.4-")]
CHECKED = "from lessons_support import check\ncheck({}, 'a claim')\ncheck(True, 'more')"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A learner's copy of a lesson, with the variable that Jupyter's server sets."""
    copy = shutil.copy(PATH, tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", str(copy))
    return tmp_path / PATH.name


async def run(folder, *cells):
    """What each cell prints, run under an id as JupyterLab does."""
    printed = []
    async with kernel(folder) as client:
        for cell_id, source in cells:
            shown = []
            message = client.session.msg(
                "execute_request",
                {"code": source, "silent": False, "store_history": True},
                metadata={"cellId": cell_id},
            )
            client.shell_channel.send(message)
            while True:
                reply = await client.get_iopub_msg(timeout=60)
                if reply["parent_header"].get("msg_id") != message["msg_id"]:
                    continue
                if reply["msg_type"] == "stream":
                    shown.append(reply["content"]["text"])
                elif reply["content"].get("execution_state") == "idle":
                    break
            printed.append("".join(shown))
    return printed


def ids(path):
    """The ids of the check cells, in order."""
    cells = nbformat.read(path, 4).cells
    return [cells[x.check.number - 1].id for x in exercises(read(path))]


def rows(folder):
    with (folder / FILE).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_checks_are_noted_with_their_exercise(own):
    first, second, *_ = ids(own)
    wrong, right = CHECKED.format(False), CHECKED.format(True)
    _, no, yes, _ = asyncio.run(
        run(
            own.parent,
            ("x", "from lessons_support import check"),
            (first, wrong),
            (first, right),
            (second, wrong),
        )
    )
    assert no == "✗ a claim\n✓ more\n"
    assert yes == "✓ a claim\n✓ more\nExercise 2.4a is done.\n"
    noted = [(x["exercise"], x["held"], x["asked"]) for x in rows(own.parent)]
    assert noted == [("2.4a", "1", "2"), ("2.4a", "2", "2"), ("2.4b", "1", "2")]
    [lesson] = lessons(own.parent)
    assert lesson.done == {"2.4a"}
    assert lesson.next == "2.4b"


def test_a_cell_that_is_no_exercises_is_not_noted(own):
    asyncio.run(run(own.parent, ("unknown", CHECKED.format(True))))
    assert not (own.parent / FILE).exists()


@pytest.mark.parametrize("name", ["", "terminal", "gone.ipynb"])
def test_outside_jupyterlab_nothing_is_noted(own, monkeypatch, name):
    monkeypatch.setenv("JPY_SESSION_NAME", name and str(own.with_name(name)))
    cells = [(x, CHECKED.format(True)) for x in ids(own)[:1]]
    assert asyncio.run(run(own.parent, *cells)) == ["✓ a claim\n✓ more\n"]
    assert not (own.parent / FILE).exists()


def test_a_folder_that_may_not_be_written_to_harms_nothing(own):
    (own.parent / FILE).mkdir()  # also root may not write into that
    cells = [(x, CHECKED.format(True)) for x in ids(own)[:1]]
    assert asyncio.run(run(own.parent, *cells)) == ["✓ a claim\n✓ more\n"]


def write(folder, *lines):
    head = "when,lesson,exercise,held,asked,minutes"
    (folder / FILE).write_text("\n".join([head, *lines]))


def test_the_table_says_what_is_done_and_where_to_go_on(tmp_path):
    for path in NOTEBOOKS[:2]:
        shutil.copy(path, tmp_path)
    first, second = NOTEBOOKS[0].stem, NOTEBOOKS[1].stem
    names = [x.name for x in exercises(read(NOTEBOOKS[0]))]
    done = [f"2026-01-01T00:00:00+00:00,{first},{x},4,4,7.5" for x in names]
    write(tmp_path, *done, f"2026-01-01T00:00:00+00:00,{second},1.2a,1,4,5.0")
    here = lessons(tmp_path)
    one, other, _, on = table(here).splitlines()
    assert one.split()[-6:] == ["3", "of", "3", "done", f"{7.5 * 3:.0f}", "min"]
    assert other.split()[-6:] == ["0", "of", "4", "done", "5", "min"]
    assert on == f"Go on with exercise 1.2a, in {second}.ipynb."
    assert to_go_on_with(here).path.stem == second


@pytest.mark.parametrize(
    "line",
    ["", "nonsense", "a,b,c,d,e,f", ",,,1,1,1", "w,1.1-x,1.1a,0,0,1.0", "\x00,\ufffd"],
)
def test_a_line_that_somebody_has_spoilt_is_passed_over(tmp_path, line):
    shutil.copy(NOTEBOOKS[0], tmp_path)
    write(tmp_path, line, f"w,{NOTEBOOKS[0].stem},1.1a,3,3,1.0", line)
    [lesson] = lessons(tmp_path)
    assert (lesson.done, lesson.minutes) == ({"1.1a"}, 1.0)


def test_a_course_without_lessons_has_nothing_to_go_on_with(tmp_path):
    assert (lessons(tmp_path), to_go_on_with([]), table([])) == ([], None, "")
