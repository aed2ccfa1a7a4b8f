"""What a chart shows, measured in its pixels and read in its words."""

import gc
import io
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from lessons_support.canvas import Canvas
from lessons_support.chart import Chart, draw
from lessons_support.timeline import (
    READY,
    RUN,
    WAIT,
    Blocked,
    Interval,
    Lane,
    Printed,
    Story,
    Timeline,
)
from lessons_support.words import tenths

STEP = 50e-6
BLUE, ORANGE, GREY, BAND = "#0072B2", "#F2B33D", "#808080", "#F9E0D3"
DOTS = 2  # image dots to a CSS pixel


# --- timelines, made by hand


def lane(name, *cuts, born=0.0, parent=None, **more):
    """A lane cut into (state, how long, reason), from its birth on."""
    intervals, start = [], born
    for state, seconds, *reason in cuts:
        intervals.append(Interval(state, start, start + seconds, *reason))
        start += seconds
    more = {"outcome": "ok", "coroutine": name} | more
    return Lane(name, parent, born, start, intervals=tuple(intervals), **more)


def sleeper(name, seconds, **more):
    return lane(name, (RUN, STEP), (WAIT, seconds, "sleep"), (RUN, STEP), **more)


def timeline(*lanes, elapsed=None, **more):
    elapsed = elapsed or max((x.ended for x in lanes), default=0.0)
    return Timeline(lambda: Story(elapsed, tuple(lanes), **more))


def many(number, **more):
    return timeline(
        *(sleeper(f"fetch-{n}", 1.0, coroutine="fetch") for n in range(number)), **more
    )


def program(late=0.0):
    """The document's program, each of its moments late by up to that much."""
    return timeline(
        lane("cell", (RUN, STEP), (WAIT, 2 + late, "gather"), kind="block"),
        sleeper("func1", 2 + late, parent="cell"),
        sleeper("func2", 1 + late, parent="cell"),
        printed=(
            Printed(0.0, "func1", "func1: Start"),
            Printed(0.0, "func2", "func2: Start"),
            Printed(1.0 + late, "func2", "func2: End"),
            Printed(2.0 + late, "func1", "func1: End"),
        ),
    )


def blocked():
    cook = lane("cook", (WAIT, 0.1, "sleep"), (RUN, 0.3, "time.sleep(0.3)"))
    tea = lane("tea", (WAIT, 0.2, "sleep"), (READY, 0.2), (RUN, STEP))
    where = "time.sleep(0.3), line 3"
    return timeline(cook, tea, blocked=(Blocked("cook", 0.1, 0.4, where),))


def awkward():
    long = "fetch_everything_that_was_ever_written_by_anybody_" * 3
    return timeline(
        sleeper(long, 1.0, outcome="AnExceptionWithAVeryLongName" * 4),
        sleeper("写真 $x^2$ \\frac{", 0.5, parent=long),
        sleeper("two\nlines", 0.5),
        printed=tuple(Printed(n / 10, long, "a long line " * 20) for n in range(11)),
        blocked=(Blocked(long, 0.9, 1.0, "sum(range(100_000_000)), line 12"),),
    )


SAMPLES = {
    "program": lambda: [program()],
    "two": lambda: [program(), blocked()],
    "blocked": lambda: [blocked()],
    "awkward": lambda: [awkward()],
    "empty": lambda: [timeline(elapsed=0.2)],
    "nothing at all": lambda: [timeline()],
    "lane without intervals": lambda: [timeline(lane("stillborn"), elapsed=1.0)],
    "a millisecond": lambda: [timeline(sleeper("quick", 1e-3))],
    "an hour": lambda: [timeline(sleeper("slow", 3600.0))],
    "41": lambda: [many(41)],
    "151": lambda: [many(151)],
}


# --- looking at pictures


def pixels(chart):
    return np.asarray(Image.open(io.BytesIO(chart.png)).convert("RGB")).astype(int)


def where(chart, colour):
    """The dots of a colour, as an array of booleans."""
    wanted = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    return np.abs(pixels(chart) - wanted).max(2) <= 6


def rows_of_ink(dots):
    """The patches of ink, as (top, bottom, left, right), from top to bottom."""
    tall = dots.any(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], tall.astype(int), [0]])))
    found = []
    for top, bottom in edges.reshape(-1, 2):
        across = np.flatnonzero(dots[top:bottom].any(0))
        found.append((top, bottom, across[0], across[-1] + 1))
    return found


def lanes_in(chart, colour=BLUE):
    """The rows of that ink above the legend, whose swatch is the last."""
    return rows_of_ink(where(chart, colour))[:-1]


@pytest.fixture
def written(monkeypatch):
    """Every text that charts write, as (text, x, y)."""
    texts, write = [], Canvas.text

    def spy(self, x, y, text, *more):
        texts.append((text, x, y))
        write(self, x, y, text, *more)

    monkeypatch.setattr(Canvas, "text", spy)
    return texts


def everything(written):
    return " ".join(text for text, _, _ in written)


# --- the forms of the states


def three_states():
    """Three seconds, one in each state: their dots in grey, cut from the picture."""
    chart = draw(timeline(lane("a", (RUN, 1), (READY, 1), (WAIT, 1, "sleep"))))
    top, bottom, left, right = lanes_in(chart)[0]
    wide = right - left
    grey = np.asarray(Image.open(io.BytesIO(chart.png)).convert("L")).astype(int)
    inner = [slice(left + n * wide + 12, left + (n + 1) * wide - 12) for n in range(3)]
    return [grey[top + 4 : bottom, part] for part in inner]


def test_running_is_solid_ready_is_hatched_and_waiting_is_thin():
    run, ready, wait = three_states()
    assert run.std() < 3
    assert ready.std() > 30
    inked = (wait < 200).mean(1) > 0.9
    assert 0 < inked.sum() <= len(inked) / 3


def test_the_states_differ_in_grey():
    run, ready, wait = three_states()
    assert ready.mean() - run.mean() > 40
    assert wait.mean() - ready.mean() > 20


# How colours are seen in linear light, with each kind of colour blindness: Machado,
# Oliveira and Fernandes (2009), severity 1.0, doi.org/10.1109/TVCG.2009.113.
VISION = {
    "full": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
EDGE, TEXTS = "#5C3D00", ("#222222", "#595959", "#8F3A00")


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("ground", ["#FFFFFF", BAND])
def test_every_ink_stands_out_from_its_ground(ground, vision):
    """WCAG asks for 4.5 (1.4.3) and 3 (1.4.11); orange has it from its dark edge."""

    def luminance(colour):
        parts = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
        linear = np.where(
            parts <= 0.04, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
        )
        return np.clip(VISION[vision] @ linear, 0, 1) @ [0.2126, 0.7152, 0.0722]

    def contrast(colour):
        return (luminance(ground) + 0.05) / (luminance(colour) + 0.05)

    assert min(map(contrast, TEXTS)) >= 4.5
    assert min(map(contrast, (BLUE, GREY, EDGE))) >= 3


def test_a_step_of_50_microseconds_is_seen_in_a_minute():
    chart = draw(timeline(sleeper("a", 60.0)))
    ((top, bottom, *_),) = lanes_in(chart)
    steps = where(chart, BLUE)[top:bottom].all(0)
    assert steps.sum() >= 2 * 2 * DOTS


def test_the_legend_names_only_what_occurs(written):
    draw(timeline(sleeper("a", 1.0)))
    assert "waiting" in everything(written)
    assert "ready" not in everything(written)


# --- time


def test_several_timelines_share_one_axis():
    short, long = timeline(lane("a", (RUN, 1.0))), timeline(lane("b", (RUN, 2.0)))
    one, two = lanes_in(draw(short, long))
    assert one[2] == two[2]
    assert two[3] - two[2] == pytest.approx(2 * (one[3] - one[2]), abs=3)


def test_a_lane_starts_when_it_was_born_and_stops_when_it_ended():
    full, part = lanes_in(
        draw(timeline(lane("a", (RUN, 4.0)), lane("b", (RUN, 2.0), born=1.0)))
    )
    wide = full[3] - full[2]
    assert part[2] - full[2] == pytest.approx(wide / 4, abs=3)
    assert full[3] - part[3] == pytest.approx(wide / 4, abs=3)


def test_a_tiny_step_stays_within_its_lanes_life():
    late = lane("b", (RUN, STEP), born=1.0 - STEP)
    full, part = lanes_in(draw(timeline(lane("a", (RUN, 1.0)), late)))
    assert part[3] <= full[3] + 1


def test_the_axis_names_its_unit(written):
    draw(timeline(sleeper("a", 2.0)))
    assert "seconds" in everything(written)
    written.clear()
    draw(timeline(sleeper("a", 0.02)))
    texts = [text for text, _, _ in written]
    assert "ms" in texts
    assert {"0", "10", "20"} <= set(texts)


def test_a_timelines_length_stands_at_its_end(written):
    draw(program(), timeline(sleeper("a", 1.0)))
    places = {text: x for text, x, _ in written if text in ("2.0 s", "1.0 s")}
    assert places["1.0 s"] < places["2.0 s"] - 100


# --- many lanes


def test_forty_lanes_have_each_a_label_and_a_reason(written):
    draw(many(40))
    texts = [text for text, _, _ in written]
    assert {f"fetch-{n}" for n in range(40)} <= set(texts)
    assert texts.count("sleep") == 40


def test_beyond_forty_lanes_no_text_stands_inside(written):
    draw(many(41))
    texts = [text for text, _, _ in written]
    assert {f"fetch-{n}" for n in range(41)} <= set(texts)
    assert "sleep" not in texts


@pytest.mark.parametrize("number", [1, 40, 41, 150])
def test_every_lane_has_ink(number):
    lanes = [lane(f"task {n}", (RUN, 1.0)) for n in range(number)]
    assert len(lanes_in(draw(timeline(*lanes)))) == number


def test_a_lane_that_never_ran_has_ink():
    chart = draw(timeline(lane("a", (READY, STEP), outcome="cancelled"), elapsed=9.0))
    assert where(chart, "#5C3D00").any()
    chart = draw(timeline(lane("a"), elapsed=9.0))
    assert where(chart, GREY).any()


def test_ten_thousand_lanes_say_how_many_are_shown(written):
    chart = draw(many(10_000))
    assert "fetch × 10,000" in everything(written)
    assert "3 of 10,000 tasks shown" in everything(written)
    assert "0 of 10,000 tasks shown" in chart.text
    assert chart.height < 600


def test_those_that_failed_have_a_row_of_their_own(written):
    lanes = [sleeper(f"fetch-{n}", 1.0, coroutine="fetch") for n in range(500)]
    lanes[77] = sleeper("fetch-77", 0.5, coroutine="fetch", outcome="ValueError")
    chart = draw(timeline(*lanes))
    assert "fetch-77" in everything(written)
    assert "✗ ValueError" in everything(written)
    assert "✓ 499, ✗ 1 ValueError" in everything(written)
    assert "499 done, 1 fail with ValueError" in chart.text
    assert "fetch-77   waits for sleep 0.0–0.5 s, fails with ValueError" in chart.text


def test_the_height_of_a_group_is_how_many_are_alive():
    """A hundred end at 1 s and a hundred at 2 s: the area falls to one half."""
    half = [sleeper(f"a{n}", 1.0 + n % 2, coroutine="fetch") for n in range(200)]
    area = where(draw(timeline(*half)), "#C4C4C4")
    top, bottom, _, right = max(rows_of_ink(area), key=lambda x: x[1] - x[0])
    tall = area[top:bottom].sum(0)
    assert tall[right // 2] > 40 * DOTS
    assert tall[right - 20] == pytest.approx(tall[right // 2] / 2, abs=2)


def test_a_group_that_is_held_up_is_hatched_as_high_as_it_is_large():
    held_up = (WAIT, 0.2, "sleep"), (READY, 0.8), (RUN, STEP)
    lanes = [lane(f"a{n}", *held_up, coroutine="fetch") for n in range(200)]
    rows = rows_of_ink(where(draw(timeline(*lanes)), ORANGE))
    assert max(bottom - top for top, bottom, *_ in rows) > 40 * DOTS


def test_a_cell_is_not_counted_as_a_task():
    lanes = [sleeper(f"fetch-{n}", 1.0, coroutine="fetch") for n in range(200)]
    text = draw(timeline(sleeper("cell", 1.0, kind="block"), *lanes)).text
    assert text.startswith("1.0 s, 200 tasks")
    assert "0 of 200 tasks shown" in text


def test_a_loop_of_many_short_steps_does_not_look_busy():
    """Two pixels for each of 500 steps would hide that the loop rests 9 ms in 10."""
    steps = [(RUN, 0.001), (WAIT, 0.009)] * 500
    loop = lane("event loop", *steps, kind="loop")
    chart = draw(timeline(sleeper("a", 4.99), loops=lambda: (loop,)))
    top, bottom, left, right = lanes_in(chart)[0]
    assert right - left > 1000
    assert bottom - top <= 2 * DOTS


@pytest.mark.parametrize("parents", [10, 100])
def test_groups_stay_few_and_leave_nobody_out(parents):
    lanes = [
        sleeper(f"t{n}", 1.0, parent=f"p{n % parents}", coroutine=f"c{n % parents}")
        for n in range(1000)
    ]
    told = draw(timeline(*lanes)).text.splitlines()
    counts = [
        int(x.split("×")[1].split()[0].replace(",", "")) for x in told if "×" in x
    ]
    assert len(counts) <= 20
    assert sum(counts) == 1000


# --- what stands beside the lanes


def test_children_are_indented_below_their_parents(written):
    lanes = [sleeper("a", 1.0), sleeper("b", 1.0, parent="a")]
    chart = draw(timeline(*lanes, sleeper("c", 1.0, parent="b")))
    at = {text: x for text, x, _ in written}
    assert at["a"] < at["b"] < at["c"]
    assert "\n  b  " in chart.text
    assert "\n    c  " in chart.text


@pytest.mark.parametrize(
    ("outcome", "mark", "words"),
    [
        ("ok", "✓", "done at 1.0 s"),
        ("cancelled", "⊘ cancelled", "cancelled at 1.0 s"),
        ("pending", "… pending", "not done"),
        ("ValueError", "✗ ValueError", "fails with ValueError at 1.0 s"),
    ],
)
def test_how_a_lane_ended_is_said(written, outcome, mark, words):
    chart = draw(timeline(sleeper("a", 1.0, outcome=outcome)))
    assert mark in [text for text, _, _ in written]
    assert words in chart.text


def test_what_was_printed_stands_at_its_moment_and_apart(written):
    draw(program())
    places = {text: (x, y) for text, x, y in written}
    start1, start2 = places["func1: Start"], places["func2: Start"]
    end1, end2 = places["func1: End"], places["func2: End"]
    assert start1[0] == start2[0] < end2[0] < end1[0]
    assert start1[1] < start2[1]
    assert start1[1] == end2[1] == end1[1]


def test_a_flood_of_printed_lines_is_counted(written):
    lines = tuple(Printed(n / 1000, "a", f"line {n}") for n in range(1000))
    chart = draw(timeline(sleeper("a", 1.0), printed=lines))
    assert "and 976 more lines" in everything(written)
    assert "and 960 more lines" in chart.text
    assert chart.height < 700


def test_a_band_marks_where_a_step_blocked_through_all_rows(written):
    chart = draw(blocked())
    down, across = np.nonzero(where(chart, BAND))
    top, bottom, left, right = down.min(), down.max(), across.min(), across.max()
    run, tea, _ = rows_of_ink(where(chart, BLUE))
    assert (left, right) == (pytest.approx(run[2], abs=2), pytest.approx(run[3], abs=2))
    assert top < run[0]
    assert bottom > tea[1]
    assert "blocked by cook" in everything(written)


def test_a_band_keeps_to_the_rows_of_the_loop_that_was_blocked(written):
    loop, other = "event loop", "event loop (2)"
    asks = lane("ask", (WAIT, 0.4, "answer"), loop=loop)
    busy = lane("GET /", (RUN, 0.3), (WAIT, 0.1), loop=other)
    loops = tuple(lane(x, (WAIT, 0.4), kind="loop") for x in (loop, other))
    step = Blocked("GET /", 0.0, 0.3, "", other)
    story = timeline(asks, busy, loops=lambda: loops, blocked=(step,))
    down, _ = np.nonzero(where(draw(story), BAND))
    free = {*range(min(down), max(down))} - {*down}
    assert max(free) - min(free) > 20  # the row of "ask", below that of its own loop
    assert "event loop (2) blocked by GET /" in everything(written)
    told = "Nobody else on event loop (2) could run for 0.3 s: GET /."
    assert story.findings == (told,)


def test_findings_stand_in_the_picture_the_words_and_the_alternative(written):
    story = timeline(sleeper("a", 1.0, outcome="pending"), never_awaited=("save",))
    chart = draw(story)
    assert len(story.findings) == 2
    for sentence in story.findings:
        assert f"→ {sentence}" in everything(written)
        assert f"\n→ {sentence}" in chart.text
        assert sentence in chart.alt


def test_captions_are_keywords_with_spaces(written):
    chart = draw(one_by_one=program(), together=blocked())
    assert "one by one" in everything(written)
    assert chart.text.startswith("one by one: 2.0 s, 2 tasks\n")
    assert "\n\ntogether: 0.4 s, 2 tasks\n" in chart.text


# --- words


def test_the_program_in_words():
    assert draw(program()).text.splitlines() == [
        "2.0 s, 2 tasks",
        "cell     waits for gather 0.0–2.0 s, done at 2.0 s",
        "  func1  waits for sleep 0.0–2.0 s, done at 2.0 s",
        "  func2  waits for sleep 0.0–1.0 s, done at 1.0 s",
        "printed",
        "  0.0 s  func1: Start",
        "  0.0 s  func2: Start",
        "  1.0 s  func2: End",
        "  2.0 s  func1: End",
    ]


def test_a_blocked_loop_in_words():
    text = draw(blocked()).text
    assert "cook  waits for sleep 0.0–0.1 s, runs 0.1–0.4 s, done at 0.4 s" in text
    assert "tea   waits for sleep 0.0–0.2 s, is held up 0.2–0.4 s, done" in text


def test_a_recording_under_a_tenth_of_a_second_names_no_moments():
    assert draw(timeline(sleeper("a", 0.003))).text == "under 0.1 s, 1 task\na  done"


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.979, 9), (0.98, 10), (1.0, 10), (1.079, 10), (1.081, 11)]
)
def test_a_moment_may_come_late_but_hardly_early(seconds, told):
    assert tenths(seconds) == told


def test_short_stretches_are_left_out_of_the_words():
    forty_ms = lane("a", (WAIT, 0.95, "sleep"), (RUN, 0.04), (WAIT, 1.0, "Event.wait"))
    same_tenth = lane("a", (WAIT, 1.0, "sleep"), (RUN, 0.06), (WAIT, 1.0, "Event.wait"))
    for told in (forty_ms, same_tenth):
        assert "runs" not in draw(timeline(told)).text


def test_short_waits_for_the_same_are_one_stretch_however_many_steps_lie_between():
    for cuts in (
        [(WAIT, 0.01, "sleep"), (RUN, STEP)] * 100,
        [(WAIT, 0.1, "sleep")] * 10,
    ):
        text = draw(timeline(lane("a", *cuts))).text
        assert "a  waits for sleep 0.0–1.0 s, done" in text


def test_who_asks_again_and_again_is_told_by_the_steps():
    cuts = [(READY, 0.0001, "a"), (RUN, STEP)] * 1_001
    assert ", more than 1,000 steps, done" in draw(timeline(lane("a", *cuts))).text


def test_long_waits_for_the_same_are_told_one_by_one():
    water, noodles = (WAIT, 0.5, "sleep"), (WAIT, 0.2, "sleep")
    text = draw(
        timeline(lane("a", water, (RUN, STEP), noodles, (RUN, 0.3), water))
    ).text
    assert "a  waits for sleep 0.0–0.5 s, 0.5–0.7 s, runs 0.7–1.0 s, waits" in text


def test_the_alternative_tells_the_findings_first():
    story = blocked()
    assert draw(story).alt.startswith(f"Chart. {story.findings[0]} 0.4 s, 2 tasks.")


@given(st.floats(0, 0.03), st.floats(0, 0.03))
@settings(max_examples=20, deadline=None)
def test_the_program_reads_the_same_on_a_busy_machine(one, other):
    assert draw(program(one)).text == draw(program(other)).text


@st.composite
def jittered(draw_from):
    """The same lanes twice, the second time with every moment up to 30 ms late."""
    tenths = st.lists(st.integers(1, 9), min_size=1, max_size=6)
    exact, late = [], []
    for name in ("a", "b", "c"):
        edge, cuts, busy = 0.0, [], []
        before = 0.0
        for n, length in enumerate(draw_from(tenths)):
            edge += length / 10
            held_up = draw_from(st.floats(0, 0.02))
            ran = draw_from(st.floats(0, 0.01))
            reason = ("sleep", "Queue.get", "task tea")[n % 3]
            cuts += [(WAIT, length / 10 - STEP, reason), (RUN, STEP)]
            wait = edge - before
            busy += [(WAIT, wait, reason), (READY, held_up), (RUN, ran)]
            before = edge + held_up + ran
        exact.append(lane(name, *cuts))
        late.append(lane(name, *busy))
    return timeline(*exact), timeline(*late)


@given(jittered())
@settings(max_examples=60, deadline=None)
def test_the_words_do_not_depend_on_the_machine(both):
    exact, late = both
    assert draw(exact).text == draw(late).text


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (["NEWS", None], "2.0 s, 1 task, returned ['NEWS', None]"),
        ({"b": 1, "a": (2.5,)}, "2.0 s, 1 task, returned {'b': 1, 'a': (2.5,)}"),
        ("tea", "2.0 s, 1 task, returned 'tea'"),
        (False, "2.0 s, 1 task, returned False"),
        (None, "2.0 s, 1 task"),
        (object(), "2.0 s, 1 task"),
        ([[[[[1]]]]], "2.0 s, 1 task"),
        ([object()], "2.0 s, 1 task"),
    ],
)
def test_the_words_say_what_came_back_if_it_is_the_same_each_time(result, told):
    assert str(draw(timeline(sleeper("a", 2), result=result))).startswith(told + "\n")


def test_a_long_result_is_cut_short():
    first = str(draw(timeline(sleeper("a", 2), result=["word " * 100] * 100)))
    assert len(first.splitlines()[0]) < 160


# --- the object


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_notebook_gets_image_words_and_alternative(sample):
    chart = draw(*SAMPLES[sample]())
    data, metadata = DisplayFormatter().format(chart)
    assert set(data) == {"image/png", "text/plain"}
    assert data["text/plain"] == chart.text == repr(chart) == str(chart)
    shown = metadata["image/png"]
    assert shown["alt"] == chart.alt
    assert 10 < len(shown["alt"]) <= 400
    size = Image.open(io.BytesIO(chart.png)).size
    assert size == (shown["width"] * DOTS, shown["height"] * DOTS)


def test_a_screen_reader_gets_the_words_in_place_of_the_image(monkeypatch):
    monkeypatch.setenv("LESSONS_CHARTS", "words")
    chart = draw(blocked())
    assert DisplayFormatter().format(chart) == ({"text/plain": chart.text}, {})


@pytest.mark.parametrize("sample", SAMPLES)
def test_nothing_runs_over_the_edge_of_the_paper(sample):
    image = pixels(draw(*SAMPLES[sample]()))
    frame = 8
    inside = image[frame:-frame, frame:-frame]
    assert (inside < 200).any()
    image[frame:-frame, frame:-frame] = 255
    assert (image == 255).all()


def test_a_lessons_chart_is_small():
    for chart in (draw(program()), draw(one=program(), two=blocked())):
        assert len(chart.png) < 30_000
        assert chart.width <= 800


def test_an_empty_recording_says_so(written):
    chart = draw(timeline(elapsed=0.2))
    assert "no task ran here" in everything(written)
    assert chart.text == "0.2 s, no tasks"


@pytest.mark.parametrize(
    ("wrong", "named"), [([], "a list"), (None, "a NoneType"), (7, "an int")]
)
def test_a_wrong_argument_is_named(wrong, named):
    expected = f"draw\\(\\) expects timelines, as record\\(\\) gives them; got {named}"
    with pytest.raises(TypeError, match=expected):
        draw(wrong)
    with pytest.raises(TypeError, match=expected):
        draw(program(), caption=wrong)


def test_no_argument_at_all_is_an_error():
    with pytest.raises(TypeError, match="at least one timeline"):
        draw()


def test_a_timeline_still_being_recorded_says_so():
    with pytest.raises(RuntimeError, match="still being recorded"):
        draw(Timeline())


# --- leaving the reader's matplotlib alone


def in_a_new_process(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_the_chart_loads_neither_matplotlib_nor_numpy():
    code = "import sys, lessons_support.chart; print(*sys.modules, sep='\\n')"
    loaded = in_a_new_process(code).split()
    assert "lessons_support.words" in loaded
    assert not {"matplotlib", "numpy"} & set(loaded)


def test_drawing_never_imports_pyplot():
    code = (
        "import sys; from lessons_support.chart import draw\n"
        "from lessons_support.timeline import Story, Timeline\n"
        "draw(Timeline(lambda: Story(1.0)))\n"
        "print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    assert in_a_new_process(code) == "True False"


STYLE = {
    "axes.facecolor": "black",
    "figure.constrained_layout.use": True,
    "figure.dpi": 30,
    "figure.facecolor": "black",
    "font.family": "serif",
    "font.size": 40,
    "hatch.color": "red",
    "hatch.linewidth": 9,
    "patch.antialiased": False,
    "patch.linewidth": 9,
    "path.simplify_threshold": 1.0,
    "path.sketch": (5, 100, 2),
    "text.usetex": True,
}


def test_the_readers_style_neither_changes_nor_matters():
    plain = draw(blocked()).png
    with matplotlib.rc_context(STYLE):
        before = dict(matplotlib.rcParams)
        assert draw(blocked()).png == plain
        assert dict(matplotlib.rcParams) == before


def test_threads_draw_the_same_chart():
    plain = draw(program()).png
    with ThreadPoolExecutor(4) as threads:
        charts = threads.map(lambda _: draw(program()), range(12))
        assert {x.png for x in charts} == {plain}


def test_a_chart_keeps_neither_figure_nor_timeline():
    story = program()
    chart, gone = draw(story), weakref.ref(story)
    del story
    gc.collect()
    assert gone() is None
    assert isinstance(chart, Chart)
    figure = sys.modules["matplotlib.figure"].Figure
    assert not [x for x in gc.get_objects() if isinstance(x, figure)]
