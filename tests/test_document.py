"""Every statement of the document is quoted in a lesson, and a run stands beside it."""

from functools import cache

import lessons
import pytest

# Section → heading in its notebook → what the document says, in its own words.
STATEMENTS = {
    "1.1": {
        "All pans on the stove": [
            "allows multiple tasks to be executed concurrently",
            "reduce overall application execution time",
        ],
        "Who works in the background?": [
            "Instead of waiting for a single task to finish, "
            "other tasks can run in the background",
        ],
        "A thousand pans": [
            "improves resource utilization",
        ],
    },
    "1.2": {
        "A call runs nothing": [
            "immediately returns a coroutine object",
        ],
        "Awaited, or begun as a task": [
            "allowing the function to run concurrently with other tasks",
        ],
        "Await steps aside": [
            "pause its execution until the awaited asynchronous operation completes",
            "enables other tasks to run concurrently while waiting",
        ],
        "A Future is an order ticket": [
            "represents the result of an asynchronous operation "
            "that has not yet completed",
            "tracks the operation's state and provides access to the result "
            "once the operation is complete",
            "hold either the final result or an exception, "
            "regardless of success or failure",
        ],
        "Callbacks: told when it is there": [
            "Allows setting callbacks to be executed after the operation completes",
        ],
    },
    "2.1": {
        "From def to async def": [
            "Asynchronous functions are defined with async def",
        ],
        "One calls the other": [
            "return a coroutine object when invoked",
        ],
        "With no await at all": [
            "can include await expressions",
        ],
    },
    "2.2": {
        "One await below another": [
            "suspends the execution of the current coroutine "
            "until the awaited operation",
        ],
        "What may be awaited": [
            "which must be awaitable",
            "Typically, the awaited operation is another asynchronous function",
        ],
    },
    "2.3": {
        "The entry point": [
            "the entry point for running asynchronous programs",
            "runs the provided coroutine until it finishes",
        ],
    },
    "2.4": {
        "The document's program": [
            "runs multiple coroutines concurrently and waits until all of them "
            "are complete",
            "Asynchronously wait for 2 seconds",
            "Asynchronously wait for 1 second",
            "Run func1 and func2 concurrently",
        ],
        "Which result comes first?": [
            "returns a list of results from the executed coroutines",
        ],
    },
    "2.5": {
        "On paper": [
            "printed almost simultaneously",
            "waits for only 1 second",
            "After 2 seconds, func1: End is printed",
            "pause asynchronously for 2 seconds and 1 second respectively",
        ],
        "How much is almost?": [
            "both functions begin execution concurrently",
        ],
        "The whole program": [
            "python main_01.py",
            "manages the event loop by running the main coroutine until completion",
        ],
        "Where it goes wrong": [
            "run both functions concurrently without blocking each other",
        ],
    },
}

PARTS = [
    pytest.param(section, heading, id=f"{section} {heading}")
    for section, headings in STATEMENTS.items()
    for heading in headings
]


@cache
def lesson(section):
    [path] = [x for x in lessons.NOTEBOOKS if x.name.startswith(f"{section}-")]
    return lessons.read(path)


def part(section, heading):
    """The cells from a heading to the next of its level."""
    tops = [x for x in lessons.headings(lesson(section)) if x[1] == 2]
    starts = [cell.number for cell, _, text in tops if text == heading]
    assert len(starts) == 1, f"{section} has {len(starts)} headings '## {heading}'"
    ends = [cell.number for cell, _, _ in tops if cell.number > starts[0]]
    end = min(ends, default=len(lesson(section).cells) + 1)
    return lesson(section).cells[starts[0] - 1 : end - 1]


def plain(text):
    """Words only: no code marks, no emphasis, no line breaks, no capitals."""
    return " ".join(text.translate(str.maketrans("", "", "`*>")).split()).lower()


def read_by_the_reader(cell):
    return plain(cell.source if cell.kind == "prose" else lessons.printed(cell))


@pytest.mark.parametrize(("section", "heading"), PARTS)
def test_a_statement_of_the_document_stands_where_it_is_shown(section, heading):
    cells = part(section, heading)
    text = "\n".join(read_by_the_reader(cell) for cell in cells)
    missing = [x for x in STATEMENTS[section][heading] if plain(x) not in text]
    assert not missing, f"{section}, '## {heading}' does not say: {missing}"
    assert any(lessons.printed(x) for x in cells if x.kind == "code"), (
        f"{section}, '## {heading}' shows no run"
    )


def test_each_lesson_has_its_statements():
    assert set(STATEMENTS) == {lessons.read(x).number for x in lessons.NOTEBOOKS}
