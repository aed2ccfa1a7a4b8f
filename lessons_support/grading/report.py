"""What a teacher gets: a table, files for spreadsheets and other tools, and pages."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from jinja2 import Environment, PackageLoader
from rich.table import Table
from rich.text import Text

from lessons_support.checks import BROKEN, HINT, KEPT
from lessons_support.grading.grade import NOT_ATTEMPTED, Grade
from lessons_support.grading.submission import Misfit, printable

COLUMNS = (
    *("learner", "lesson", "exercise", "claims held", "claims asked"),
    *("points", "seconds", "note", "finding"),
)
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

By = dict[str, list[Grade]]


def as_text(value: str) -> str:
    """A value that no spreadsheet takes for a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t") else value


def write_all(folder: Path, learners: By, misfits: list[Misfit]) -> None:
    """What is about all learners."""
    grades = [x for theirs in learners.values() for x in theirs]
    write_csv(folder / "grades.csv", grades, misfits)
    write_totals(folder / "totals.csv", learners, misfits)
    write_junit(folder / "junit.xml", grades, misfits)


def write_csv(path: Path, grades: list[Grade], misfits: list[Misfit]) -> None:
    """One line an exercise, with the first finding unless all its claims hold.

    Then one for each file that could not be graded.
    """
    lines = [[*COLUMNS]]
    for one in grades:
        names = one.learner, one.task.lesson.number, one.task.exercise.name
        marks = one.held, one.asked, one.points, one.outcome.seconds
        finding = "" if one.points == one.asked else next(iter(findings(one)), "")
        told = one.note, printable(finding.removeprefix(HINT))
        lines.append([*map(as_text, names), *marks, *map(as_text, told)])
    between = [""] * (COLUMNS.index("note") - 1)
    for misfit in misfits:
        lines.append([as_text(misfit.learner), *between, as_text(str(misfit)), ""])
    _write_lines(path, lines)


def write_totals(path: Path, learners: By, misfits: Sequence[Misfit] = ()) -> None:
    """One line a learner: the points of each lesson, and their sum.

    Claims are asked of all in the same lessons, handed in or not. Whoever has handed in
    only what could not be graded has a line, too.
    """
    lost = {x.learner for x in misfits if x.learner} - learners.keys()
    learners = learners | {x: [] for x in sorted(lost)}
    points: dict[str, Counter[str]] = {learner: Counter() for learner in learners}
    for learner, grades in learners.items():
        for one in grades:
            points[learner][one.task.lesson.number] += one.points
    numbers = sorted(set().union(*points.values()))
    lines = [["learner", *numbers, "points", "claims asked"]]
    all_of_them = [x for grades in learners.values() for x in grades]
    asked = sum({x.task.exercise.name: x.asked for x in all_of_them}.values())
    for learner in learners:
        each = [points[learner].get(x, "") for x in numbers]
        lines.append([as_text(learner), *each, points[learner].total(), asked])
    _write_lines(path, lines)


def _write_lines(path: Path, lines: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        csv.writer(file).writerows(lines)


def write_junit(path: Path, grades: list[Grade], misfits: list[Misfit]) -> None:
    """One test a claim, as Jenkins and GitLab read them; and one a misfit, an error."""
    root = xml.Element("testsuites", name="grades")
    if misfits:
        count = str(len(misfits))
        suite = xml.SubElement(
            root, "testsuite", name="not graded", tests=count, errors=count
        )
        for misfit in misfits:
            whose = {"classname": misfit.learner or "nameless", "name": "a notebook"}
            test = xml.SubElement(suite, "testcase", whose)
            xml.SubElement(test, "error", message=str(misfit))
    for number in dict.fromkeys(x.task.lesson.number for x in grades):
        suite = xml.SubElement(root, "testsuite", name=number)
        for grade in (x for x in grades if x.task.lesson.number == number):
            for claim, holds in grade.claims:
                _test(suite, grade, claim, holds)
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
    xml.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _test(suite: xml.Element, grade: Grade, claim: str, holds: bool) -> None:
    test = xml.SubElement(suite, "testcase")
    test.set("classname", NOT_XML.sub("�", grade.learner))
    test.set("name", NOT_XML.sub("�", f"{grade.task.exercise.name}: {claim}"))
    test.set("time", str(grade.outcome.seconds))
    if not holds:
        failure = xml.SubElement(test, "failure", message="The claim does not hold.")
        failure.text = NOT_XML.sub("�", "\n".join(reasons(grade)))


def results(grades: list[Grade], misfits: Sequence[Misfit] = ()) -> dict[str, Any]:
    """One learner's grades as Gradescope's autograders give them."""
    tests = [
        {
            "name": f"{x.task.exercise.name} {x.task.exercise.title}",
            "score": x.points,
            "max_score": x.asked,
            "output": "\n".join(told(x)),
        }
        for x in grades
    ]
    found = {"score": sum(x.points for x in grades), "tests": tests}
    return found | ({"output": "\n".join(map(str, misfits))} if misfits else {})


def told(grade: Grade) -> list[str]:
    """The lines that a learner reads: claims, findings, and the note."""
    lines = [f"{KEPT if x else BROKEN} {claim}" for claim, x in grade.claims]
    return lines + reasons(grade)


def reasons(grade: Grade) -> list[str]:
    """What the run shows, and the note."""
    return findings(grade) + ([grade.note] if grade.note else [])


def findings(grade: Grade) -> list[str]:
    """What the chart shows and the check says, as far as it is worth a sentence."""
    lines = [*grade.outcome.shown.splitlines(), *grade.outcome.printed.splitlines()]
    told = [x.strip() for x in lines if x.lstrip().startswith(HINT)]
    return list(dict.fromkeys(told))


def write_learner(
    folder: Path, grades: list[Grade], misfits: Sequence[Misfit] = ()
) -> None:
    """The page and the results.json of one learner."""
    folder.mkdir(parents=True, exist_ok=True)
    page = PAGE.render(
        learner=grades[0].learner,
        grades=grades,
        misfits=misfits,
        points=sum(x.points for x in grades),
        most=sum(x.asked for x in grades),
        when=datetime.now().strftime("%Y-%m-%d %H:%M"),
        findings=findings,
    )
    (folder / "feedback.html").write_text(page, "utf-8", "replace")
    text = json.dumps(results(grades, misfits), indent=1)
    (folder / "results.json").write_text(text, encoding="utf-8")


PAGE = Environment(
    loader=PackageLoader("lessons_support.grading", "."),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("page.html")


def folder_names(learners: Iterable[str], taken: str) -> dict[str, str]:
    """A folder's name for each learner: letters and digits, and nobody else's."""
    names: dict[str, str] = {}
    used = {taken}
    for learner in learners:
        plain = re.sub(r"[^\w.-]+", "-", learner)[:80].strip(".-") or "nameless"
        name, number = plain, 2
        while name.casefold() in used:
            name, number = f"{plain}-{number}", number + 1
        used.add(name.casefold())
        names[learner] = name
    return names


def table(learners: By) -> Table:
    """The grades of all learners, for a terminal."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in "learner", "lesson", "points by exercise":
        found.add_column(name)
    found.add_column("points", justify="right")
    found.add_column("note")
    for learner, grades in learners.items():
        of_lesson: dict[str, list[Grade]] = {}
        for one in grades:
            of_lesson.setdefault(one.task.lesson.number, []).append(one)
        idle = {
            x: y for x, y in of_lesson.items() if {z.note for z in y} == {NOT_ATTEMPTED}
        }
        for number in [x for x in of_lesson if x not in idle]:
            found.add_row(*map(Text, (learner, number, *_in_short(of_lesson[number]))))
        if idle:
            most = sum(x.asked for theirs in idle.values() for x in theirs)
            told = learner, ", ".join(idle), "", f"0/{most}", NOT_ATTEMPTED
            found.add_row(*map(Text, told))
    return found


def _in_short(grades: list[Grade]) -> tuple[str, str, str]:
    marks = [f"{x.task.exercise.name[-1]} {x.points}/{x.asked}" for x in grades]
    of_note: dict[str, list[str]] = {}
    for one in grades:
        of_note.setdefault(one.note, []).append(one.task.exercise.name)
    notes = [f"{', '.join(names)}: {note}" for note, names in of_note.items() if note]
    most = sum(x.asked for x in grades)
    return "  ".join(marks), f"{sum(x.points for x in grades)}/{most}", "\n".join(notes)
