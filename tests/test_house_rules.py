"""What every notebook of the course keeps to.

A rule is a function from a lesson to its complaints, one sentence each, which name the
cell and what was expected. The first tests hold every rule against every notebook; the
others break each rule on purpose, in memory.
"""

import ast
import re
import statistics
from copy import deepcopy
from itertools import pairwise

import nbformat
import pytest
from lessons import (
    EXERCISE,
    FOLDER,
    NOTEBOOKS,
    SECTIONS,
    SOLUTION,
    TAG,
    YOUR_TURN,
    calls,
    code_lines,
    exercises,
    fences,
    headings,
    lesson,
    links,
    nodes,
    printed,
    read,
    top_level,
    tree,
    without_code,
    words,
)
from nbformat import v4

MOST_WORDS = 80
MOST_LINES, MOST_COLUMNS, MEDIAN_LINES = 15, 88, 4
MOST_BYTES = 200_000
ROUNDS = range(3, 7)  # idea, define, predict, run, explain: three to six times
RECALLS = range(2, 4)
CHECKS = range(2, 7)
TAGS = {"raises-exception", "nbval-ignore-output"}
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
PREDICT = "**Predict.**"
GOES_WRONG, IN_SHORT = "Where it goes wrong", "In short"
INSTALL = re.compile(
    r"^\s*[!%].*\b(pip|conda|mamba|uv)\b|\bpip3?\s+install\b|[\"']pip3?[\"']|^\s*!",
    re.M,
)
# The pictures among Unicode's symbols; ✓ and ✗ are letters of the checks.
EMOJI = re.compile(
    "[\u231a\u231b\u23e9-\u23fa\u2600-\u2712\u2714-\u2716\u2718-\u27bf"
    "\u2b50\u2b55\ufe0f\U0001f000-\U0001faff]"
)
PLACE = re.compile(
    r"(?<![\w.])(/home/|/root/|/Users/|/tmp/|/private/|/usr/lib|~/|[A-Z]:\\)\S*"
)
COLOUR = re.compile(r"\x1b\[[\d;]*m")

RULES = []


def rule(function):
    RULES.append(function)
    return function


# --- the file as a whole


@rule
def file_title_and_document_agree(lesson):
    if lesson.name not in SECTIONS:
        return [f"the file name is none of the ten: {', '.join(SECTIONS)}"]
    expected = SECTIONS[lesson.name].replace("`", "").replace(". ", " ", 1)
    first = headings(lesson)[0] if headings(lesson) else None
    if first is None or first[0].number != 1 or first[1] != 1:
        return [f"cell 1 must begin with the title, '# {expected}'"]
    title = first[2].replace("`", "")
    if title.casefold() != expected.casefold():
        return [
            f"{first[0]}: the title is {title!r}, "
            f"the document's heading is {expected!r} (case is free)"
        ]
    return []


@rule
def notebook_is_valid(lesson):
    notebook = lesson.notebook
    ids = [cell.get("id") for cell in notebook.cells]
    if (
        (notebook.nbformat, notebook.nbformat_minor) < (4, 5)
        or None in ids
        or len(set(ids)) < len(ids)
    ):
        return ["save it as nbformat 4.5, each cell with an id of its own"]
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as problem:
        return [f"not a valid notebook: {problem.message}"]
    return [f"{cell} is empty" for cell in lesson.cells if not cell.source.strip()]


@rule
def notebook_is_light(lesson):
    size = len(nbformat.writes(lesson.notebook).encode())
    return (
        [f"{size:,} bytes, at most {MOST_BYTES:,}: smaller charts or fewer"]
        if size > MOST_BYTES
        else []
    )


@rule
def metadata_is_plain(lesson):
    complaints = []
    if lesson.notebook.metadata != METADATA:
        complaints.append(f"the notebook's metadata must be exactly {METADATA}")
    for cell in lesson.cells:
        if extra := set(cell.metadata) - {"tags"}:
            complaints.append(f"{cell}: metadata {sorted(extra)}, only tags are kept")
        if foreign := cell.tags - TAGS:
            complaints.append(
                f"{cell}: tags {sorted(foreign)}, known are {sorted(TAGS)}"
            )
    return complaints


# --- the parts of a lesson


def sections(lesson, name):
    """The cells under whose second-level heading `name` stands."""
    return [
        cell for cell, level, text in headings(lesson) if (level, text) == (2, name)
    ]


def predictions(lesson):
    return [cell for cell in lesson.prose if PREDICT in cell.source]


def follower(lesson, cell):
    """The cell below, or None."""
    return next(iter(lesson.cells[cell.number : cell.number + 1]), None)


@rule
def opening_says_how_long_it_takes(lesson):
    opening = "".join(cell.source for cell in lesson.prose if cell.number == 1)
    if not re.search(r"\b\d+ minutes\b", opening):
        return ["cell 1 must say in prose how long the lesson takes, as '40 minutes'"]
    return []


def imports(cell):
    """The import statements of a code cell, at any depth."""
    found = nodes(cell.source)
    return [node for node in found if isinstance(node, ast.Import | ast.ImportFrom)]


@rule
def imports_are_the_second_cell_and_nowhere_else(lesson):
    second = [cell for cell in lesson.code if cell.number == 2]
    statements = [node for cell in second for node in top_level(cell.source)]
    complaints = [
        f"{cell} imports: move that to cell 2 (code in a string may import)"
        for cell in lesson.code
        if cell not in second and imports(cell)
    ]
    if not statements or statements != [
        node for cell in second for node in imports(cell)
    ]:
        complaints.append("cell 2 must hold the imports and nothing else")
    return complaints


@rule
def recall_questions_are_folded(lesson):
    if lesson.name == next(iter(SECTIONS)):
        return []  # the first lesson has nothing to recall
    first = next(iter(predictions(lesson)), None)
    before = [
        cell for cell in lesson.prose if first is None or cell.number < first.number
    ]
    folds = sum(cell.source.count("<details>") for cell in before)
    if folds not in RECALLS:
        return [
            "two or three recall questions with folded answers before the first "
            f"prediction, not {folds}"
        ]
    return []


@rule
def ideas_come_three_to_six_times(lesson):
    end = next(
        (cell.number for cell in sections(lesson, GOES_WRONG)), len(lesson.cells)
    )
    rounds = sum(cell.number < end for cell in predictions(lesson))
    if rounds not in ROUNDS:
        return [
            f"three to six cells with {PREDICT} before '## {GOES_WRONG}', not {rounds}"
        ]
    return []


@rule
def a_prediction_is_followed_by_its_run(lesson):
    below = [(cell, follower(lesson, cell)) for cell in predictions(lesson)]
    return [
        f"{cell}: below a prediction stands the code cell that runs it, not {after}"
        for cell, after in below
        if after is None or after.kind != "code" or not runs(after)
    ]


@rule
def two_versions_share_one_axis(lesson):
    drawn = [call for cell in lesson.code for call in calls(cell, "draw")]
    if not any(len(call.args) + len(call.keywords) > 1 for call in drawn):
        return [
            "at least once draw two timelines in one chart: "
            "draw(one_by_one=first, together=second)"
        ]
    return []


@rule
def mistakes_and_summary_have_their_sections(lesson):
    return [
        f"expected one heading '## {name}', found {len(sections(lesson, name))}"
        for name in (GOES_WRONG, IN_SHORT)
        if len(sections(lesson, name)) != 1
    ]


def asks_back(cell):
    """Whether a cell folds an answer, and not the hint or solution of an exercise."""
    folded = re.findall(r"<details><summary>(\w+)", cell.source)
    return bool(folded) and not {"Hint", "Solution"} & set(folded)


@rule
def parts_come_in_order(lesson):
    tasks = [cell for cell in lesson.prose if EXERCISE.search(cell.source)]
    parts = {
        "the recall questions": [c for c in lesson.prose if asks_back(c)][:1],
        "the first prediction": predictions(lesson)[:1],
        f"'## {GOES_WRONG}'": sections(lesson, GOES_WRONG)[:1],
        "the first exercise": tasks[:1],
        "the last exercise": tasks[-1:],
        f"'## {IN_SHORT}'": sections(lesson, IN_SHORT)[:1],
    }
    found = [(name, cells[0].number) for name, cells in parts.items() if cells]
    complaints = [] if tasks else ["no exercise: '### Exercise 2.4a — …'"]
    for (name, number), (after, its_number) in pairwise(found):
        if number > its_number:
            complaints.append(
                f"{name} (cell {number}) belongs above {after} (cell {its_number})"
            )
    return complaints


@rule
def headings_nest(lesson):
    complaints, above = [], 0
    for cell, level, text in headings(lesson):
        if level > above + 1 or (level == 1 and above):
            complaints.append(
                f"{cell}: {'#' * level} {text!r} below a heading of level {above}"
            )
        above = level
    return complaints


@rule
def last_cell_links_to_the_next_lesson(lesson):
    names = list(SECTIONS)
    later = names[names.index(lesson.name) + 1 :] if lesson.name in names else []
    written = [f"{name}.ipynb" for name in later]
    written = [name for name in written if (lesson.folder / name).exists()]
    if written and written[0] not in [
        link for c in lesson.cells[-1:] for link in links(c)
    ]:
        return [f"the last cell must link to the next lesson, ({written[0]})"]
    return []


@rule
def relative_links_lead_somewhere(lesson):
    targets = [
        (cell, target.partition("#")[0])
        for cell in lesson.prose
        for target in links(cell)
    ]
    return [
        f"{cell}: no file at the link's target {target!r}"
        for cell, target in targets
        if target
        and not re.match(r"[a-z]+:", target)
        and not (lesson.folder / target).exists()
    ]


# --- prose


@rule
def prose_is_short(lesson):
    counted = [(cell, words(cell.source)) for cell in lesson.prose]
    return [
        f"{cell}: {count} words, at most {MOST_WORDS}"
        for cell, count in counted
        if count > MOST_WORDS
    ]


@rule
def prose_never_comes_three_in_a_row(lesson):
    triples = zip(lesson.cells, lesson.cells[1:], lesson.cells[2:], strict=False)
    return [
        f"{three[0]} begins three prose cells in a row: join two, or let code between"
        for three in triples
        if all(cell.kind == "prose" for cell in three)
    ]


@rule
def prose_speaks_to_you(lesson):
    found = [
        (cell, re.search(r"\b(we|let['’]s)\b", without_code(cell.source), re.I))
        for cell in lesson.prose
    ]
    return [
        f"{cell}: {match.group()!r}, but a lesson says 'you'"
        for cell, match in found
        if match
    ]


def tags(cell):
    return TAG.findall(without_code(cell.source))


@rule
def folds_are_the_only_html(lesson):
    allowed = {"<details>", "</details>", "<summary>", "</summary>"}
    written = [(cell, sorted(set(tags(cell)) - allowed)) for cell in lesson.prose]
    shown = [
        cell
        for cell in lesson.code
        if any("text/html" in output.get("data", ()) for output in cell.outputs)
    ]
    return [
        f"{cell}: {foreign}, but only <details> and <summary> may be"
        for cell, foreign in written
        if foreign
    ] + [f"{cell} shows HTML: print text or draw a chart" for cell in shown]


@rule
def folds_close_and_show_their_markdown(lesson):
    complaints = []
    for cell in lesson.prose:
        pieces = ("<details>", "</details>", "<summary>", "</summary>")
        if len({tags(cell).count(piece) for piece in pieces}) > 1:
            complaints.append(
                f"{cell}: each <details> needs a <summary>…</summary> and a </details>"
            )
        # Without a blank line Markdown inside HTML is shown as it is typed.
        if re.search(r"</summary>(?!\n\s*\n)|(?<!\n\n)</details>", cell.source):
            complaints.append(
                f"{cell}: leave a blank line below </summary> and above </details>"
            )
    return complaints


@rule
def pictures_come_only_from_runs(lesson):
    embedded = [cell for cell in lesson.prose if "![" in without_code(cell.source)]
    attached = [
        cell
        for cell, node in zip(lesson.cells, lesson.notebook.cells, strict=True)
        if "attachments" in node
    ]
    return [
        f"{cell} holds a picture: draw it from a run" for cell in [*embedded, *attached]
    ]


@rule
def nothing_is_an_emoji(lesson):
    found = [(cell, EMOJI.search(cell.source + printed(cell))) for cell in lesson.cells]
    return [f"{cell}: {match.group()!r} is an emoji" for cell, match in found if match]


# --- code


DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# A mapping, a constant, or one object made of them: neither a definition nor a run.
QUIET = ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.Pass


def builds(call):
    """Whether a call makes an object, `FastAPI()`: classes begin with a capital."""
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", "")
    return name[:1].isupper()


def _acts(node):
    """Whether an expression calls or awaits something; a lambda does so later."""
    if isinstance(node, ast.Lambda):
        return False
    if isinstance(node, ast.Await) or (isinstance(node, ast.Call) and not builds(node)):
        return True
    return any(_acts(child) for child in ast.iter_child_nodes(node))


def _statement_runs(node):
    if isinstance(node, DEFINITIONS):
        return False
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return False
    return not isinstance(node, QUIET) or _acts(node)


def runs(cell):
    """Whether a code cell does something; what is not Python fails, which is a run."""
    parsed = tree(cell.source)
    return parsed is None or any(_statement_runs(node) for node in parsed.body)


def defines(cell):
    return any(isinstance(node, DEFINITIONS) for node in top_level(cell.source))


@rule
def code_cells_are_small(lesson):
    complaints = []
    for cell in lesson.code:
        lines = cell.source.splitlines()
        if len(lines) > MOST_LINES:
            complaints.append(f"{cell}: {len(lines)} lines, at most {MOST_LINES}")
        if (width := max(map(len, lines), default=0)) > MOST_COLUMNS:
            complaints.append(
                f"{cell}: a line of {width} columns, at most {MOST_COLUMNS}"
            )
    return complaints


@rule
def most_code_cells_are_tiny(lesson):
    median = statistics.median([len(code_lines(cell)) for cell in lesson.code] or [0])
    return (
        [f"the median code cell has {median} lines, at most {MEDIAN_LINES}"]
        if median > MEDIAN_LINES
        else []
    )


@rule
def a_code_cell_defines_or_runs(lesson):
    both = [cell for cell in lesson.code if defines(cell) and runs(cell)]
    return [
        f"{cell} defines and runs: make it two cells, with a prediction between them"
        for cell in both
    ]


@rule
def code_comes_in_single_cells(lesson):
    return [
        f"{cell} and the cell below are both code: "
        "only an answer ('# Your turn') and its check may be"
        for cell, below in pairwise(lesson.cells)
        if cell.kind == below.kind == "code" and not YOUR_TURN.search(cell.source)
    ]


@rule
def code_that_is_no_python_says_so(lesson):
    broken = [
        cell for cell in lesson.code if tree(cell.source) is None and not cell.may_fail
    ]
    return [
        f"{cell} is not Python: if that is the lesson, tag it raises-exception"
        for cell in broken
    ]


@rule
def nothing_is_installed(lesson):
    return [
        f"{cell} installs or starts a shell"
        for cell in lesson.code
        if INSTALL.search(cell.source)
    ]


@rule
def the_path_stays_alone(lesson):
    return [
        f"{cell} touches sys.path"
        for cell in lesson.code
        if re.search(r"\bsys\s*\.\s*path\b", cell.source)
    ]


@rule
def imports_name_what_they_take(lesson):
    taken = [
        (cell, name)
        for cell in lesson.code
        for node in imports(cell)
        for name in node.names
    ]
    starred = [cell for cell, name in taken if name.name == "*"]
    return [f"{cell}: 'import *' hides where a name comes from" for cell in starred]


def _functions(source):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {ast.unparse(node) for node in nodes(source) if isinstance(node, kinds)}


@rule
def the_documents_programs_are_not_retyped(lesson):
    programs = [
        path.read_text(encoding="utf-8")
        for path in sorted(lesson.folder.glob("main_0*.py"))
    ]
    original = set().union(*map(_functions, programs))
    texts = [(cell, cell.source) for cell in lesson.code]
    texts += [(cell, code) for cell in lesson.prose for _, code in fences(cell.source)]
    return [
        f"{cell} retypes a function of the document's program: show it from its file"
        for cell, text in texts
        if _functions(text) & original
    ]


# --- outputs


def shown(cell):
    """Everything a code cell put on the screen as text, tracebacks included."""
    traces = [line for output in cell.outputs for line in output.get("traceback", ())]
    return COLOUR.sub("", "\n".join([printed(cell), *traces]))


@rule
def outputs_are_of_one_clean_run(lesson):
    counts = [cell.execution_count for cell in lesson.code]
    if counts != list(range(1, len(counts) + 1)):
        return [
            f"execution counts {counts}, expected 1 to {len(counts)}: "
            "restart and run all, then save"
        ]
    return []


@rule
def errors_are_wanted_and_wanted_errors_come(lesson):
    complaints = []
    for cell in lesson.code:
        failed = any(output.output_type == "error" for output in cell.outputs)
        if failed and not cell.may_fail:
            complaints.append(
                f"{cell} ends with an error: if that is the lesson, "
                "tag it raises-exception"
            )
        if cell.may_fail and not failed:
            complaints.append(f"{cell} is tagged raises-exception and raises nothing")
    return complaints


@rule
def warnings_are_wanted(lesson):
    loud = [
        cell
        for cell in lesson.code
        if any(output.get("name") == "stderr" for output in cell.outputs)
    ]
    return [
        f"{cell} writes to stderr: if that is the lesson, "
        "say so in a comment, '# warns: …'"
        for cell in loud
        if not cell.may_warn
    ]


@rule
def charts_say_in_words_what_they_show(lesson):
    charts = [
        (cell, output)
        for cell in lesson.code
        for output in cell.outputs
        if "image/png" in output.get("data", ())
    ]
    complaints = []
    for cell, chart in charts:
        if chart.data.get("text/plain", "<").startswith("<"):
            complaints.append(
                f"{cell}: the chart needs text/plain that tells it in words"
            )
        if not (
            chart.metadata.get("alt") or chart.metadata.get("image/png", {}).get("alt")
        ):
            complaints.append(f"{cell}: the chart needs an alt text in its metadata")
    return complaints


@rule
def outputs_name_no_place_on_a_disk(lesson):
    found = [(cell, PLACE.search(shown(cell))) for cell in lesson.code]
    return [
        f"{cell} shows {match.group()!r}, a path of one machine"
        for cell, match in found
        if match
    ]


@rule
def tasks_have_names_to_picture(lesson):
    found = [(cell, re.search(r"\bTask-\d+", printed(cell))) for cell in lesson.code]
    return [
        f"{cell} shows {match.group()!r}: name the task"
        for cell, match in found
        if match
    ]


# --- exercises: four adjacent cells


@rule
def exercises_are_named_a_b_c(lesson):
    titles = [EXERCISE.search(cell.source) for cell in lesson.prose]
    names = [title["section"] + title["letter"] for title in titles if title]
    expected = [
        lesson.number + letter for letter, _ in zip("abcdefghij", names, strict=False)
    ]
    loose = [
        f"{cell}: {text!r} is not of the form 'Exercise {lesson.number}a — Title'"
        for cell, level, text in headings(lesson)
        if text.startswith("Exercise ") and not EXERCISE.search(f"{'#' * level} {text}")
    ]
    return loose + (
        [] if names == expected else [f"exercises {names}, expected {expected}"]
    )


def is_whole(exercise):
    """Whether the three cells below the task are what they should be."""
    kinds = [cell.kind for cell in (exercise.answer, exercise.check, exercise.solution)]
    yours = YOUR_TURN.search(exercise.answer.source)
    return bool(
        kinds == ["code", "code", "prose"]
        and yours
        and SOLUTION in exercise.solution.source
    )


@rule
def exercises_are_four_adjacent_cells(lesson):
    whole = [exercise for exercise in exercises(lesson) if is_whole(exercise)]
    owned = {
        cell.number
        for one in whole
        for cell in (one.task, one.answer, one.check, one.solution)
    }
    parts = [
        cell
        for cell in lesson.cells
        if EXERCISE.search(cell.source)
        or YOUR_TURN.search(cell.source)
        or SOLUTION in cell.source
    ]
    return [
        f"{cell}: an exercise is four cells in a row: '### Exercise', '# Your turn', "
        f"a check, and '{SOLUTION}'"
        for cell in parts
        if cell.number not in owned
    ]


@rule
def a_task_says_its_size_and_has_a_hint(lesson):
    complaints = []
    for exercise in exercises(lesson):
        if not re.search(r"\babout (\w+ )?\w+ lines?\b", exercise.task.source):
            complaints.append(
                f"{exercise.task}: say the size of the answer, 'about 3 lines'"
            )
        if "<details><summary>Hint</summary>" not in exercise.task.source:
            complaints.append(
                f"{exercise.task}: fold a hint, <details><summary>Hint</summary>"
            )
    return complaints


@rule
def a_check_rehearses_checks_and_draws(lesson):
    complaints = []
    for exercise in exercises(lesson):
        cell = exercise.check
        if not calls(cell, "rehearse") + calls(cell, "record"):
            complaints.append(f"{cell} must rehearse or record the answer")
        if (count := len(calls(cell, "check"))) not in CHECKS:
            complaints.append(f"{cell}: two to six lines check(…), not {count}")
        if not calls(cell, "draw"):
            complaints.append(f"{cell} must draw the recording")
    return complaints


@rule
def as_shipped_no_claim_holds(lesson):
    complaints = []
    for exercise in exercises(lesson):
        lines = printed(exercise.check).splitlines()
        holds, fails = (sum(line.startswith(mark) for line in lines) for mark in "✓✗")
        if holds or fails != len(calls(exercise.check, "check")):
            complaints.append(
                f"{exercise.check} shows {holds} ✓ and {fails} ✗: "
                "as shipped each check shows ✗"
            )
    return complaints


@rule
def a_solution_is_one_block_that_replaces_the_answer(lesson):
    complaints = []
    for exercise in exercises(lesson):
        blocks, cell = fences(exercise.solution.source), exercise.solution
        if [language for language, _ in blocks] != ["python"]:
            complaints.append(
                f"{cell}: one fenced python block, not {len(blocks)} blocks"
            )
        elif missing := _names(exercise.answer.source) - _names(exercise.solution_code):
            complaints.append(f"{cell}: the solution does not define {sorted(missing)}")
        if words(cell.source) < 8:
            complaints.append(f"{cell}: say why the solution is right")
    return complaints


def _names(source):
    """What a cell defines or assigns at its top level."""
    body = top_level(source)
    targets = [
        target
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
    ]
    return {node.name for node in body if isinstance(node, DEFINITIONS)} | {
        node.id
        for target in targets
        for node in ast.walk(target)
        if isinstance(node, ast.Name)
    }


# --- the rules, held against the notebooks


def test_the_notebooks_are_there():
    names = {path.stem for path in NOTEBOOKS}
    assert {"2.4-executing-tasks-with-gather", "2.5-expected-output"} <= names, (
        f"{FOLDER.name} holds {sorted(names)}"
    )


@pytest.mark.parametrize(
    "house_rule", RULES, ids=lambda house_rule: house_rule.__name__
)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_house_rule(path, house_rule):
    complaints = house_rule(read(path))
    if complaints:
        title = f"{path.name}, {house_rule.__name__}:"
        pytest.fail("\n".join([title, *complaints]), pytrace=False)


# --- the rules, held against a lesson that keeps them all, and one that breaks each


NAME = "2.4-executing-tasks-with-gather"
FOLD = "<details><summary>{}</summary>\n\n{}\n\n</details>"
ANSWER = "async def fetch_all(fetch, names):\n    # Your turn\n    ..."
CHECKED = (
    "trial = rehearse(fetch_all, fetch, names)\n"
    'check(trial.result == ["a", "b"], "returns the results in the order asked")\n'
    'check(trial.elapsed < 3, "takes as long as the longest wait")\n'
    "draw(trial)"
)
SOLVED = (
    "```python\nasync def fetch_all(fetch, names):\n"
    "    return await asyncio.gather(*map(fetch, names))\n```\n\n"
    "`gather` begins every task before it waits for the first."
)


PNG = {"image/png": "iVBORw0KGgo="}


def _chart():
    data = PNG | {"text/plain": "boil waited from 0 s to 1 s"}
    return v4.new_output(
        "display_data", data, metadata={"image/png": {"alt": "boil waited"}}
    )


def _round(number):
    return [
        v4.new_markdown_cell(
            f"## Idea {number}\n\nA task is a recipe somebody has begun. See `a < b`."
        ),
        v4.new_code_cell(
            f"async def boil_{number}(seconds):\n    await asyncio.sleep(seconds)"
        ),
        v4.new_markdown_cell("**Predict.** How many lanes does the chart have?"),
        v4.new_code_cell(
            f"with record() as boiled_{number}:\n    await boil_{number}(1)\n"
            f"draw(first=boiled_1, now=boiled_{number})",
            outputs=[_chart()],
        ),
        v4.new_markdown_cell("One lane, grey almost all the way."),
    ]


def _exercise():
    return [
        v4.new_markdown_cell(
            "## Exercises\n\n### Exercise 2.4a — Fetch them together\n\n"
            "Fetch all names, in about 3 lines.\n\n"
            + FOLD.format("Hint", "`gather` takes many.")
        ),
        v4.new_code_cell(ANSWER),
        v4.new_code_cell(
            CHECKED,
            outputs=[
                v4.new_output("stream", text="✗ returns …\n✗ takes …\n"),
                _chart(),
            ],
        ),
        v4.new_markdown_cell(FOLD.format("Solution", SOLVED)),
    ]


def good_notebook():
    """A lesson that keeps every rule."""
    cells = [
        v4.new_markdown_cell(
            "# 2.4 Executing asynchronous tasks with `asyncio.gather`\n\n"
            "It takes 40 minutes."
        ),
        v4.new_code_cell(
            "import asyncio\n\n"
            "from lessons_support import check, draw, record, rehearse"
        ),
        v4.new_markdown_cell(
            "## Recall\n\n"
            + "\n\n".join(
                ["What is a task?\n\n" + FOLD.format("Answer", "A recipe.")] * 2
            )
        ),
        *(cell for number in (1, 2, 3) for cell in _round(number)),
        v4.new_markdown_cell(
            f"## {GOES_WRONG}\n\nThis version looks right and is not."
        ),
        v4.new_code_cell(
            "with record() as wrong:\n    await boil_1(1)\ndraw(wrong)",
            outputs=[_chart()],
        ),
        v4.new_markdown_cell("Three seconds: nothing waited together."),
        *_exercise(),
        v4.new_markdown_cell(
            f"## {IN_SHORT}\n\n- `gather` waits for all.\n\n"
            "Next: [2.5](2.5-expected-output.ipynb)"
        ),
    ]
    for count, cell in enumerate(
        (cell for cell in cells if cell.cell_type == "code"), 1
    ):
        cell.execution_count = count
    return v4.new_notebook(cells=cells, metadata=deepcopy(METADATA))


@pytest.fixture
def folder(tmp_path):
    """A folder with the neighbours a lesson can link to."""
    (tmp_path / "2.5-expected-output.ipynb").touch()
    (tmp_path / "main_01.py").write_text(
        "async def func1():\n    print('func1: Start')\n", encoding="utf-8"
    )
    return tmp_path


def at(notebook, text):
    """The first cell that holds the text."""
    return next(cell for cell in notebook.cells if text in cell.source)


def replaced(old, new):
    """A change: write `new` instead of `old`, in the first cell that has it."""

    def change(notebook):
        cell = at(notebook, old)
        cell.source = cell.source.replace(old, new, 1)

    return change


def added(text, below, kind="markdown"):
    """A change: one more cell below the one that holds `below`."""

    def change(notebook):
        index = notebook.cells.index(at(notebook, below)) + 1
        new = v4.new_code_cell if kind == "code" else v4.new_markdown_cell
        notebook.cells.insert(index, new(text))

    return change


def moved(text, above):
    """A change: the cell with `text` stands directly above the cell with `above`."""

    def change(notebook):
        cell = at(notebook, text)
        notebook.cells.remove(cell)
        notebook.cells.insert(notebook.cells.index(at(notebook, above)), cell)

    return change


def showing(text, output_type="error", data=None, **output):
    """A change: the cell with `text` has one more output."""
    fields = output | ({"data": data} if data else {})
    new = v4.new_output(output_type, **fields)
    return lambda notebook: at(notebook, text).outputs.append(new)


def printing(text, line, name="stdout"):
    """A change: the cell with `text` prints a line."""
    new = v4.new_output("stream", name=name, text=line)
    return lambda notebook: at(notebook, text).outputs.append(new)


def cell_with(text, /, **fields):
    return lambda notebook: at(notebook, text).update(fields)


def metadata_with(text, /, **fields):
    return lambda notebook: at(notebook, text).metadata.update(fields)


def output_with(text, /, **fields):
    """A change: the first output of the cell with `text` has other fields."""
    changed = nbformat.from_dict(fields)
    return lambda notebook: at(notebook, text).outputs[0].update(changed)


def dropped(text):
    return lambda notebook: notebook.cells.remove(at(notebook, text))


ERROR = {
    "ename": "ValueError",
    "evalue": "no",
    "traceback": ["File \x1b[32m~/x.py:1\x1b[39m", "ValueError: no"],
}


def single_charts(notebook):
    for cell in notebook.cells:
        cell.source = re.sub(
            r"draw\(first=boiled_1, now=(\w+)\)", r"draw(\1)", cell.source
        )


def longer_cells(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source += "\n# and so on" * 3


def repeated_id(notebook):
    notebook.cells[0].id = notebook.cells[1].id


BROKEN = {
    file_title_and_document_agree: [
        replaced("# 2.4 Executing", "# 2.4 Running"),
        replaced("# 2.4 Executing", "Executing"),
    ],
    notebook_is_valid: [
        repeated_id,
        lambda notebook: notebook.update(nbformat_minor=4),
        cell_with("## Idea 1", outputs=[]),
        replaced("One lane, grey almost all the way.", " "),
    ],
    notebook_is_light: [
        printing("boiled_2", "x" * MOST_BYTES),
    ],
    metadata_is_plain: [
        lambda notebook: notebook.metadata.language_info.update(version="3.13.0"),
        metadata_with("boiled_2", execution={"iopub.status.busy": "2025-01-01"}),
        metadata_with("boiled_2", tags=["nbval-skip"]),
    ],
    opening_says_how_long_it_takes: [
        replaced("40 minutes", "a while"),
    ],
    imports_are_the_second_cell_and_nowhere_else: [
        replaced("import asyncio\n", "import asyncio\nloops = 3\n"),
        moved("import asyncio", above="**Predict.**"),
        replaced("    await asyncio.sleep", "    import time\n    await asyncio.sleep"),
    ],
    recall_questions_are_folded: [
        dropped("## Recall"),
    ],
    ideas_come_three_to_six_times: [
        replaced(PREDICT, "Guess."),
    ],
    a_prediction_is_followed_by_its_run: [
        added("Take your time.", below=PREDICT),
        moved(PREDICT, above="async def boil_1"),
    ],
    mistakes_and_summary_have_their_sections: [
        replaced(GOES_WRONG, "Mistakes"),
        replaced(IN_SHORT, "Summary"),
    ],
    parts_come_in_order: [
        moved("## In short", above=GOES_WRONG),
        moved("## Recall", above=GOES_WRONG),
        moved(GOES_WRONG, above="## Idea 1"),
        replaced("### Exercise 2.4a", "### Exercise"),
    ],
    headings_nest: [
        replaced("## Idea 1", "#### Idea 1"),
        replaced("## Idea 2", "# Idea 2"),
    ],
    last_cell_links_to_the_next_lesson: [
        replaced("](2.5-expected-output.ipynb)", "](main_01.py)"),
    ],
    relative_links_lead_somewhere: [
        replaced("A recipe.", "A [recipe](2.2-waiting.ipynb)."),
    ],
    prose_is_short: [
        replaced("One lane", "One lane " * 40),
        replaced("`gather` takes many.", "word " * 80),
    ],
    prose_never_comes_three_in_a_row: [
        added("And then?", below="One lane"),
    ],
    prose_speaks_to_you: [
        replaced("One lane", "Let's see: one lane"),
    ],
    folds_are_the_only_html: [
        replaced("One lane", "<b>One</b> lane"),
        replaced("One lane", "One <!-- bright --> lane"),
        showing("boiled_2", "display_data", {"text/html": "<b>1</b>"}),
    ],
    folds_close_and_show_their_markdown: [
        replaced("</details>", ""),
        replaced("</summary>\n\n", "</summary>\n"),
        replaced("\n\n</details>", "\n</details>"),
    ],
    pictures_come_only_from_runs: [
        replaced("One lane", "![A lane](data:image/png;base64,iVBORw0KGgo=)"),
        cell_with("# 2.4", attachments={"a.png": {"image/png": ""}}),
    ],
    nothing_is_an_emoji: [
        replaced("One lane", "One lane \N{ROCKET}"),
        printing("boiled_2", "\N{WHITE HEAVY CHECK MARK} right"),
    ],
    code_cells_are_small: [
        replaced(
            "await boil_2(1)\n", "await boil_2(1)\n" + "    await boil_2(1)\n" * 15
        ),
        replaced("await boil_2(1)\n", "await boil_2(1)" + " " * 88 + "\n"),
    ],
    a_code_cell_defines_or_runs: [
        replaced("async def boil_2", "print(1)\nasync def boil_2"),
        replaced(
            "with record() as boiled_2", "def two(): ...\nwith record() as boiled_2"
        ),
    ],
    code_comes_in_single_cells: [
        added("print(1)", below="boiled_2", kind="code"),
    ],
    code_that_is_no_python_says_so: [
        replaced("draw(wrong)", "draw(wrong"),
    ],
    nothing_is_installed: [
        replaced("draw(wrong)", "%pip install httpx"),
        replaced("draw(wrong)", "!ls"),
        replaced(
            "draw(wrong)", 'subprocess.run([sys.executable, "-m", "pip", "install"])'
        ),
    ],
    the_path_stays_alone: [
        replaced("draw(wrong)", 'sys.path.insert(0, "..")'),
    ],
    imports_name_what_they_take: [
        replaced("import check, draw, record, rehearse", "import *"),
    ],
    the_documents_programs_are_not_retyped: [
        replaced(
            "async def boil_2(seconds):\n    await asyncio.sleep(seconds)",
            'async def func1():\n    print("func1: Start")',
        ),
    ],
    outputs_are_of_one_clean_run: [
        cell_with("boiled_2", execution_count=99),
        cell_with("boiled_2", execution_count=None),
    ],
    errors_are_wanted_and_wanted_errors_come: [
        showing("boiled_2", **ERROR),
        metadata_with("boiled_2", tags=["raises-exception"]),
    ],
    warnings_are_wanted: [
        printing("boiled_2", "never awaited", name="stderr"),
    ],
    charts_say_in_words_what_they_show: [
        output_with("boiled_2", metadata={}),
        output_with("boiled_2", data=PNG),
        output_with("boiled_2", data=PNG | {"text/plain": "<Figure size 1x1>"}),
    ],
    outputs_name_no_place_on_a_disk: [
        printing("boiled_2", "in /tmp/ipykernel_12/3.py"),
        showing("boiled_2", **ERROR),
    ],
    tasks_have_names_to_picture: [
        printing("boiled_2", "Task-17 is done"),
    ],
    exercises_are_named_a_b_c: [
        replaced("Exercise 2.4a", "Exercise 2.4b"),
        replaced("Exercise 2.4a — ", "Exercise 2.4a: "),
    ],
    exercises_are_four_adjacent_cells: [
        replaced("# Your turn", "# Write here"),
        replaced("<summary>Solution", "<summary>One answer"),
        added("Ready?", below="# Your turn"),
        replaced("draw(wrong)", "draw(wrong)  # Your turn"),
    ],
    a_task_says_its_size_and_has_a_hint: [
        replaced("in about 3 lines", "briefly"),
        replaced("<summary>Hint", "<summary>Help"),
    ],
    a_check_rehearses_checks_and_draws: [
        replaced("rehearse(fetch_all, fetch, names)", "None"),
        replaced("check(trial.elapsed", "print(trial.elapsed"),
        replaced("draw(trial)", ""),
    ],
    as_shipped_no_claim_holds: [
        output_with("check(trial", text="✗ a\n✓ b\n"),
        output_with("check(trial", text="✗ a\n"),
    ],
    a_solution_is_one_block_that_replaces_the_answer: [
        replaced("```python\nasync", "```\nasync"),
        replaced("```python\nasync def fetch_all", "```python\nasync def all_of"),
        replaced("`gather` begins every task before it waits for the first.", ""),
    ],
    two_versions_share_one_axis: [
        single_charts,
    ],
    most_code_cells_are_tiny: [
        longer_cells,
    ],
}


@pytest.mark.parametrize(
    "house_rule", RULES, ids=lambda house_rule: house_rule.__name__
)
def test_a_good_lesson_keeps_the_house_rule(house_rule, folder):
    assert house_rule(lesson(good_notebook(), NAME, folder)) == []


@pytest.mark.parametrize(
    ("house_rule", "change"),
    [
        pytest.param(house_rule, change, id=f"{house_rule.__name__}-{number}")
        for house_rule, changes in BROKEN.items()
        for number, change in enumerate(changes)
    ],
)
def test_a_lesson_that_breaks_the_house_rule_is_told_so(house_rule, change, folder):
    notebook = good_notebook()
    change(notebook)
    assert house_rule(lesson(notebook, NAME, folder))


def test_every_house_rule_is_broken_on_purpose():
    assert set(BROKEN) == set(RULES)


@pytest.mark.parametrize(
    "house_rule", RULES, ids=lambda house_rule: house_rule.__name__
)
@pytest.mark.parametrize("length", [0, 1, 2])
def test_a_lesson_just_begun_gets_complaints_and_no_traceback(
    house_rule, length, folder
):
    notebook = good_notebook()
    notebook.cells = notebook.cells[:length]
    assert isinstance(house_rule(lesson(notebook, NAME, folder)), list)


def test_a_file_name_that_the_document_does_not_know_is_told_so(folder):
    assert file_title_and_document_agree(lesson(good_notebook(), "2.4-gather", folder))


@pytest.mark.parametrize(
    "source",
    [
        "limit = 3",
        "log = []",
        "app = FastAPI()",
        "lock = asyncio.Lock()",
        "key = lambda name: name.lower()",
        '@app.get("/")\nasync def read_root():\n    return await fetch_data()',
    ],
)
def test_a_cell_that_only_prepares_does_not_run(source):
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source)])
    assert not runs(lesson(notebook, "", FOLDER).cells[0])


@pytest.mark.parametrize(
    "source",
    [
        "boil()",
        "tea = await boil()",
        "with record() as t:\n    pass",
        "for n in names: pass",
        "func1",
        "%pwd",
        "await (1",
    ],
)
def test_a_cell_that_does_something_runs(source):
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source)])
    assert runs(lesson(notebook, "", FOLDER).cells[0])


def test_a_demo_in_a_string_may_import(folder):
    notebook = good_notebook()
    replaced("draw(wrong)", 'print("import time")')(notebook)
    assert not imports_are_the_second_cell_and_nowhere_else(
        lesson(notebook, "2.4", folder)
    )


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("Two words", 2),
        ("## A heading — with a dash", 5),
        ("`asyncio.gather(*tasks)` waits", 2),
        ("See [the next lesson](2.5-expected-output.ipynb).", 4),
        ("Shown:\n\n```python\nawait main()\n```\n", 1),
        (FOLD.format("Hint", "folded text counts"), 4),
    ],
)
def test_words_are_counted_as_a_reader_reads_them(source, count):
    assert words(source) == count
