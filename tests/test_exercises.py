"""Every exercise of every notebook, walked as a learner would: by what a reader sees.

The answers are in `answers/`, one file an exercise: right ones, and wrong ones with the
claims that they break and what a finding has to say. An answer is put in place of the
answer cell and the check cell is run; what is printed there is the feedback.
"""

import asyncio
import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest
from kernels import kernel, side_by_side
from lessons import NOTEBOOKS, exercises, fences, read

ANSWERS = Path(__file__).parent / "answers"
FEWEST_RIGHT, FEWEST_WRONG = 2, 4
LIMIT = 90  # seconds for one cell
TRIES = 3  # for right answers: what takes real time, a busy machine may spoil

EXERCISES = [
    (path, exercise.name) for path in NOTEBOOKS for exercise in exercises(read(path))
]
every_exercise = pytest.mark.parametrize(
    ("path", "name"), EXERCISES, ids=[name for _, name in EXERCISES]
)


@dataclass(frozen=True)
class Answer:
    """An answer to an exercise; a wrong one says what it breaks."""

    title: str
    right: bool
    code: str
    breaks: tuple = ()
    findings: tuple = ()


@dataclass(frozen=True)
class Feedback:
    """What a learner is told: the claims that hold, those that do not, the findings."""

    holds: tuple
    fails: tuple
    findings: tuple
    error: str = ""

    @property
    def lines(self):
        return self.holds, self.fails, self.findings


def answers(name):
    """The answers to the exercise of that name."""
    path = ANSWERS / f"{name}.md"
    text = path.read_text() if path.exists() else ""
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        kind, title = re.match(r"(Right|Wrong): (.+)", part).groups()
        [(_, code)] = fences(part)
        breaks = re.findall(r"^Breaks: (.+)$", part, flags=re.M)
        findings = re.findall(r"^Finding: (.+)$", part, flags=re.M)
        yield Answer(title, kind == "Right", code, tuple(breaks), tuple(findings))


# --- walking


async def printed_by(client, code):
    """What a cell prints and shows as text, and the name of the error it ends with."""
    texts = []

    def note(message):
        content = message["content"]
        texts.append(content.get("text") or content.get("data", {}).get("text/plain"))

    reply = await client.execute_interactive(
        code, stop_on_error=False, timeout=LIMIT, output_hook=note
    )
    return "\n".join(filter(None, texts)), reply["content"].get("ename", "")


async def feedback(client, answer, check):
    """What the check cell says of an answer."""
    await printed_by(client, answer)
    text, error = await printed_by(client, check)
    found = defaultdict(list)
    for line in text.splitlines():
        found[line[:2]].append(line[2:])
    return Feedback(*(tuple(found[mark]) for mark in ("✓ ", "✗ ", "→ ")), error)


async def walk(lesson):
    """The feedback on each answer to each exercise: {(exercise, title): feedback}."""
    found = {}
    at = {exercise.answer.number: exercise for exercise in exercises(lesson)}
    checks = {exercise.check.number for exercise in at.values()}
    async with kernel(lesson.folder) as client:
        for cell in lesson.code:
            if cell.number in checks:
                continue
            if (exercise := at.get(cell.number)) is None:
                await printed_by(client, cell.source)
                continue
            given = list(answers(exercise.name))
            given.append(Answer("shipped", False, cell.source))
            given.append(Answer("solution", True, exercise.solution_code))
            for answer in given:
                for _ in range(TRIES if answer.right else 1):
                    said = await feedback(client, answer.code, exercise.check.source)
                    if not said.fails + said.findings:
                        break
                found[exercise.name, answer.title] = said
    return found


@pytest.fixture(scope="session")
def walks():
    """The walk of each notebook that has exercises, by path."""
    # The last lessons take longest, so they come first.
    paths = list(dict.fromkeys(path for path, _ in reversed(EXERCISES)))
    results = asyncio.run(side_by_side(walk, map(read, paths)))
    return dict(zip(paths, results, strict=True))


@pytest.fixture
def told(walks, path, name):
    """The feedback on each answer to one exercise, by the answer's title."""
    if isinstance(walks[path], BaseException):
        raise walks[path]
    return {
        title: feedback
        for (exercise, title), feedback in walks[path].items()
        if exercise == name
    }


def is_told(answer, said):
    """Assert that a wrong answer breaks its claims, and that its findings are said."""
    assert set(answer.breaks) <= set(said.fails), answer.title
    for finding in answer.findings:
        assert finding in " ".join(said.findings), answer.title


# --- what has to hold


@every_exercise
def test_an_exercise_has_right_and_wrong_answers(path, name):
    right = [answer.title for answer in answers(name) if answer.right]
    wrong = [answer.title for answer in answers(name) if not answer.right]
    assert len(right) >= FEWEST_RIGHT, f"answers/{name}.md: more right answers"
    assert len(wrong) >= FEWEST_WRONG, f"answers/{name}.md: more wrong answers"
    assert len({*right, *wrong}) == len(right) + len(wrong), "titles differ"


@every_exercise
def test_as_shipped_no_claim_holds(told, name):
    shipped = told["shipped"]
    assert shipped.holds == ()
    assert shipped.fails


@every_exercise
def test_the_solution_and_each_right_answer_hold_all_claims(told, name):
    claims = told["shipped"].fails
    right = {answer.title for answer in answers(name) if answer.right}
    for title in {"solution", *right}:
        assert told[title] == Feedback(claims, (), ()), title


@every_exercise
def test_each_wrong_answer_breaks_its_claims_and_is_told_why(told, name):
    for answer in answers(name):
        if not answer.right:
            said = told[answer.title]
            is_told(answer, said)
            assert answer.breaks, f"{answer.title} breaks no claim"
            assert not said.error, answer.title


@every_exercise
def test_no_two_wrong_answers_get_the_same_feedback(told, name):
    wrong = [answer.title for answer in answers(name) if not answer.right]
    same = [
        (one, other)
        for one, other in combinations(wrong, 2)
        if told[one].lines == told[other].lines
    ]
    assert same == []
