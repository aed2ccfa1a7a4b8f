"""What a teacher gets, whatever learners put into it."""

import csv
import json
from dataclasses import asdict, replace
from xml.etree import ElementTree as xml

import pytest
from rich.console import Console
from submissions import lesson

from lessons_support.grading import report
from lessons_support.grading.grade import NOT_ATTEMPTED, Grade, Task
from lessons_support.grading.job import Outcome
from lessons_support.grading.submission import Misfit

LESSON = lesson("2.4")
CLAIMS = ("one holds", "two does not", "three holds")
TASK = Task(LESSON, LESSON.exercises[0], claims=CLAIMS)
OUTCOME = Outcome(
    claims=((True, "one holds"), (False, "two does not"), (True, "three holds")),
    shown="A chart.\n→ One waits.",
    seconds=0.5,
)
GRADE = Grade("ann", TASK, "mine = 1", OUTCOME)
EVIL = '"><script>alert(1)</script>\x1b[31m\x00'


def test_a_point_is_a_claim_that_holds():
    assert (GRADE.held, GRADE.asked, GRADE.points, GRADE.note) == (2, 3, 2, "")


def test_a_suspect_gets_no_point_and_a_reason():
    grade = replace(GRADE, outcome=replace(OUTCOME, suspect="It cheats."))
    assert (grade.held, grade.points) == (2, 0)
    assert grade.note == "Suspect: It cheats. Look at the answer."
    assert not any(holds for _, holds in grade.claims)


def test_claims_of_somebody_elses_check_count_for_nothing():
    told = replace(OUTCOME, claims=tuple((True, f"{x}!") for x in CLAIMS))
    assert replace(GRADE, outcome=told).points == 0


def test_an_outcome_is_kept_as_text():
    assert Outcome.from_json(json.dumps(asdict(OUTCOME))) == OUTCOME


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_table_as_csv(tmp_path):
    path = tmp_path / "grades.csv"
    misfit = Misfit("a.ipynb is not a notebook.")
    misfit.learner = "bob"
    report.write_csv(path, [GRADE], [misfit])
    lines = read(path)
    assert lines[0] == list(report.COLUMNS)
    assert lines[1] == ["ann", "2.4", "2.4a", "2", "3", "2", "0.5", "", "One waits."]
    assert (lines[2][0], lines[2][-1]) == ("bob", "")
    assert lines[2][-2] == "a.ipynb is not a notebook."
    all_held = replace(OUTCOME, claims=tuple((True, x) for x in CLAIMS))
    report.write_csv(path, [replace(GRADE, outcome=all_held)], [])
    assert read(path)[1][-2:] == ["", ""]


def test_the_points_of_each_learner_by_lesson(tmp_path):
    other = lesson("1.2")
    more = replace(GRADE, task=Task(other, other.exercises[0], claims=CLAIMS))
    path = tmp_path / "totals.csv"
    report.write_totals(path, {"ann": [GRADE, GRADE, more], "=bob": [GRADE]})
    assert read(path) == [
        ["learner", "1.2", "2.4", "points", "claims asked"],
        ["ann", "2", "4", "6", "6"],
        ["'=bob", "", "2", "2", "6"],
    ]


def test_who_handed_in_only_what_is_damaged_is_not_left_out(tmp_path):
    misfit = Misfit("2.4.ipynb is damaged.")
    misfit.learner = "bob"
    path = tmp_path / "totals.csv"
    report.write_totals(path, {"ann": [GRADE]}, [misfit])
    assert read(path)[1:] == [["ann", "2", "2", "3"], ["bob", "", "0", "3"]]


def test_a_learner_reads_which_file_was_damaged(tmp_path):
    report.write_learner(tmp_path, [GRADE], [Misfit("2.1.ipynb is damaged.")])
    assert "2.1.ipynb is damaged." in (tmp_path / "feedback.html").read_text()
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["output"] == "2.1.ipynb is damaged."


def test_lessons_that_were_not_begun_are_one_line_of_the_table():
    idle = replace(GRADE, notes=(NOT_ATTEMPTED,))
    other = lesson("1.2")
    more = replace(idle, task=Task(other, other.exercises[0], claims=CLAIMS))
    assert report.table({"ann": [idle, more], "bob": [GRADE, more]}).row_count == 3


def test_what_no_file_can_hold_is_replaced(tmp_path):
    half = replace(GRADE, learner="a\ud800", outcome=replace(OUTCOME, shown="→ \ud800"))
    report.write_csv(tmp_path / "grades.csv", [half], [Misfit("\ud800.ipynb is torn.")])
    assert read(tmp_path / "grades.csv")[1][0] == "a?"
    assert read(tmp_path / "grades.csv")[1][-1] == "�"
    assert read(tmp_path / "grades.csv")[2][-2] == "�.ipynb is torn."
    assert "→ ?" in page(half, tmp_path)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
def test_no_spreadsheet_takes_a_name_for_a_formula(name, tmp_path):
    path = tmp_path / "grades.csv"
    report.write_csv(path, [replace(GRADE, learner=name)], [])
    assert read(path)[1][0] == f"'{name}"


def test_junit_has_a_test_for_each_claim(tmp_path):
    path = tmp_path / "junit.xml"
    report.write_junit(path, [GRADE, replace(GRADE, learner=EVIL)], [])
    [suite] = xml.parse(path).getroot()
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == (
        "2.4",
        "6",
        "2",
    )
    failed = [x for x in suite.findall("testcase") if len(x)]
    assert [x.get("name") for x in failed] == ["2.4a: two does not"] * 2
    assert failed[0].find("failure").text == "→ One waits."


def test_junit_has_an_error_for_each_file_that_was_not_graded(tmp_path):
    path = tmp_path / "junit.xml"
    misfit = Misfit("a.ipynb is not a notebook.")
    misfit.learner = "bob"
    report.write_junit(path, [GRADE], [misfit])
    suites = {x.get("name"): x for x in xml.parse(path).getroot()}
    assert set(suites) == {"2.4", "not graded"}
    [test] = suites["not graded"]
    assert (suites["not graded"].get("errors"), test.get("classname")) == ("1", "bob")
    assert test.find("error").get("message") == str(misfit)


def test_gradescope_reads_scores_and_reasons():
    told = json.loads(json.dumps(report.results([GRADE])))
    assert told["score"] == 2
    [test] = told["tests"]
    assert (test["score"], test["max_score"]) == (2, 3)
    assert test["output"] == (
        "✓ one holds\n✗ two does not\n✓ three holds\n→ One waits."
    )


def page(grade, tmp_path):
    report.write_learner(tmp_path / "x", [grade])
    return (tmp_path / "x" / "feedback.html").read_text(encoding="utf-8")


def test_a_page_shows_claims_findings_and_the_answer(tmp_path):
    text = page(GRADE, tmp_path)
    for part in ("one holds", "two does not", "→ One waits.", "mine = 1", "2 of 3"):
        assert part in text


def test_nothing_of_a_learner_is_code_in_a_page(tmp_path):
    told = Outcome(**dict.fromkeys(("ended", "suspect", "shown", "printed"), EVIL))
    told = replace(told, chart=EVIL, error=EVIL, claims=((True, EVIL),))
    text = page(Grade(EVIL, TASK, EVIL, told, (EVIL,)), tmp_path)
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert EVIL not in text


def test_what_the_check_says_is_a_reason_and_is_said_once():
    told = replace(OUTCOME, printed="✗ two does not\n→ One waits.\n→ It took 3 s.\n")
    lines = report.findings(replace(GRADE, outcome=told))
    assert lines == ["→ One waits.", "→ It took 3 s."]


@pytest.mark.parametrize(
    ("learner", "folder"),
    [("Ann", "Ann-2"), ("../../ann", "ann-2"), ("Zoë B", "Zoë-B"), ("...", "nameless")],
)
def test_a_learners_folder_is_below_and_nobody_elses(learner, folder):
    assert report.folder_names(["ann", learner], "runs")[learner] == folder


def test_no_learners_folder_is_the_one_for_runs():
    assert report.folder_names(["runs"], "runs") == {"runs": "runs-2"}


def test_the_table_shows_what_learners_write_as_it_is():
    console = Console(width=200, record=True)
    grades = [replace(GRADE, learner="[red]ann[/red]", notes=("[/nonsense]",))]
    console.print(report.table({"[red]ann[/red]": grades}))
    text = console.export_text()
    assert "[red]ann[/red]" in text
    assert "[/nonsense]" in text
    assert "a 2/3" in text


def test_the_table_says_a_note_once():
    grades = [replace(GRADE, notes=("Not there.",))] * 2
    console = Console(width=200, record=True)
    console.print(report.table({"ann": grades}))
    assert "2.4a, 2.4a: Not there." in console.export_text()
