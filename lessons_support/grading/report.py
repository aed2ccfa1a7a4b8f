"""What a teacher gets: a table, grades.csv, junit.xml, results.json, and pages."""

from __future__ import annotations

import base64
import binascii
import csv
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from jinja2 import Environment, PackageLoader
from rich.table import Table
from rich.text import Text

from lessons_support.checks import BROKEN, HINT, KEPT
from lessons_support.grading.grade import Grade

COLUMNS = (
    *("learner", "lesson", "exercise", "claims held", "claims asked"),
    *("points", "seconds", "note"),
)
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

By = dict[str, list[Grade]]


def row(grade: Grade) -> list[Any]:
    """What COLUMNS ask for."""
    names = [grade.learner, grade.task.lesson.number, grade.task.exercise.name]
    marks = [grade.held, grade.asked, grade.points, grade.outcome.seconds]
    return [*map(as_text, names), *marks, as_text(grade.note)]


def as_text(value: str) -> str:
    """A value that no spreadsheet takes for a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t") else value


def write_all(folder: Path, learners: By, misfits: list[str]) -> None:
    """What is about all learners; Gradescope wants a folder with one learner only."""
    grades = [x for theirs in learners.values() for x in theirs]
    write_csv(folder / "grades.csv", grades, misfits)
    write_junit(folder / "junit.xml", grades)
    if len(learners) == 1:
        write_json(folder / "results.json", results(grades))


def write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")


def write_csv(path: Path, grades: list[Grade], misfits: list[str]) -> None:
    """One line an exercise; then one for each file that could not be graded."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(COLUMNS)
        lines.writerows(map(row, grades))
        lines.writerows([""] * (len(COLUMNS) - 1) + [as_text(x)] for x in misfits)


def write_junit(path: Path, grades: list[Grade]) -> None:
    """One test a claim, as Jenkins and GitLab read them."""
    root = xml.Element("testsuites", name="grades")
    suites: dict[str, xml.Element] = {}
    for grade in grades:
        name = grade.task.lesson.number
        suite = suites.get(name)
        if suite is None:
            suite = suites[name] = xml.SubElement(root, "testsuite", name=name)
        for claim, holds in claims(grade):
            _test(suite, grade, claim, holds)
    for suite in suites.values():
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
    xml.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _test(suite: xml.Element, grade: Grade, claim: str, holds: bool) -> None:
    test = xml.SubElement(suite, "testcase")
    test.set("classname", NOT_XML.sub("�", grade.learner))
    test.set("name", NOT_XML.sub("�", f"{grade.task.exercise.name}: {claim}"))
    test.set("time", str(grade.outcome.seconds))
    if not holds:
        note = NOT_XML.sub("�", grade.note or "The claim does not hold.")
        xml.SubElement(test, "failure", message=note)


def claims(grade: Grade) -> list[tuple[str, bool]]:
    """Each claim that the check makes, and whether it counts as held."""
    held = {claim for holds, claim in grade.outcome.claims if holds}
    counts = not grade.outcome.suspect
    return [(claim, counts and claim in held) for claim in grade.task.claims]


def results(grades: list[Grade]) -> dict[str, Any]:
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
    return {"score": sum(x.points for x in grades), "tests": tests}


def told(grade: Grade) -> list[str]:
    """The lines that a learner reads: claims, findings, and the note."""
    lines = [f"{KEPT if x else BROKEN} {claim}" for claim, x in claims(grade)]
    return lines + findings(grade) + ([grade.note] if grade.note else [])


def findings(grade: Grade) -> list[str]:
    """What the chart shows, as far as it is worth a sentence."""
    lines = grade.outcome.shown.splitlines()
    return [x.strip() for x in lines if x.lstrip().startswith(HINT)]


def write_learner(folder: Path, grades: list[Grade]) -> None:
    """The page and the results.json of one learner."""
    folder.mkdir(parents=True, exist_ok=True)
    page = PAGE.render(
        learner=grades[0].learner,
        grades=grades,
        points=sum(x.points for x in grades),
        most=sum(x.asked for x in grades),
        when=datetime.now().strftime("%Y-%m-%d %H:%M"),
        claims=claims,
        findings=findings,
        picture=picture,
    )
    (folder / "feedback.html").write_text(page, encoding="utf-8")
    write_json(folder / "results.json", results(grades))


def picture(grade: Grade) -> str:
    """The chart as base64, if it is a PNG."""
    try:
        data = base64.b64decode(grade.outcome.chart, validate=True)
    except (ValueError, binascii.Error):
        return ""
    return grade.outcome.chart if data.startswith(b"\x89PNG\r\n\x1a\n") else ""


PAGE = Environment(
    loader=PackageLoader("lessons_support.grading", "."),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("page.html")


def folder_name(learner: str, taken: set[str]) -> str:
    """A name for a learner's folder: letters and digits, and nobody else's."""
    plain = re.sub(r"[^\w.-]+", "-", learner)[:80].strip(".-") or "nameless"
    name, number = plain, 2
    while name.casefold() in taken:
        name, number = f"{plain}-{number}", number + 1
    return name


def table(learners: By) -> Table:
    """The grades of all learners, for a terminal."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in "learner", "lesson", "claims held of asked":
        found.add_column(name)
    found.add_column("points", justify="right")
    found.add_column("note")
    for learner, grades in learners.items():
        for number in dict.fromkeys(x.task.lesson.number for x in grades):
            ours = [x for x in grades if x.task.lesson.number == number]
            found.add_row(*map(Text, (learner, number, *_in_short(ours))))
    return found


def _in_short(grades: list[Grade]) -> tuple[str, str, str]:
    marks = [f"{x.task.exercise.name[-1]} {x.held}/{x.asked}" for x in grades]
    notes = [f"{x.task.exercise.name}: {x.note}" for x in grades if x.note]
    most = sum(x.asked for x in grades)
    return "  ".join(marks), f"{sum(x.points for x in grades)}/{most}", "\n".join(notes)
