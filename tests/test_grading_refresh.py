"""`refresh` runs lessons, and saves them as the house rules want them."""

import nbformat
import pytest
from lessons import lesson
from nbformat.v4 import new_code_cell, new_notebook
from test_house_rules import METADATA, PLACE, shown

from lessons_support.grading.command import main

SOURCES = ("import json", "print('one')\nprint('two')", "1 + 1")


@pytest.fixture
def saved(tmp_path):
    """Save a notebook with these cells; where it is."""

    def saved(*sources, tags=()):
        cells = [new_code_cell(x) for x in sources]
        cells[-1].metadata = nbformat.from_dict({"tags": list(tags)} if tags else {})
        path = tmp_path / "9-small.ipynb"
        nbformat.write(new_notebook(cells=cells, metadata=METADATA), path)
        return path

    return saved


def test_a_refreshed_notebook_is_that_of_one_clean_run(saved, capsys):
    path = saved(*SOURCES)
    assert main(["refresh", str(path)]) == 0
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata == METADATA
    assert [x.execution_count for x in notebook.cells] == [1, 2, 3]
    assert [x.metadata for x in notebook.cells] == [{}] * 3
    assert notebook.cells[1].outputs[0].text == "one\ntwo\n"
    assert notebook.cells[2].outputs[0].data == {"text/plain": "2"}
    assert f"{path} is fresh." in capsys.readouterr().out


def test_a_second_time_changes_nothing(saved):
    path = saved(*SOURCES)
    assert main(["refresh", str(path)]) == 0
    first = path.read_bytes()
    assert main(["refresh", str(path)]) == 0
    assert path.read_bytes() == first


def test_a_wanted_error_is_saved_without_a_place_of_this_machine(saved):
    path = saved("import json", "json.loads('no')", tags=["raises-exception"])
    assert main(["refresh", str(path)]) == 0
    last = lesson(nbformat.read(path, as_version=4), "9-small", path.parent).code[-1]
    assert "JSONDecodeError" in shown(last)
    assert not PLACE.search(shown(last)), shown(last)


@pytest.mark.parametrize(
    ("source", "why"),
    [("1 / 0", "ZeroDivisionError"), ("import os\nos._exit(0)", "Kernel died")],
)
def test_a_notebook_that_fails_is_left_as_it_was(source, why, saved, capsys):
    path = saved("import json", source)
    before = path.read_bytes()
    assert main(["refresh", str(path)]) == 1
    assert path.read_bytes() == before
    said = capsys.readouterr().err
    assert "is left as it was" in said
    assert why in said


def test_what_is_no_notebook_gets_a_sentence(tmp_path, capsys):
    path = tmp_path / "x.ipynb"
    path.write_text("no")
    assert main(["refresh", str(path), str(tmp_path / "nowhere.ipynb")]) == 1
    assert capsys.readouterr().err.count("is left as it was: it cannot be read") == 2
