import asyncio
import io
import sys

import numpy as np
import pytest

from lessons_support.checks import check


def said(capsys, holds, claim="it is so"):
    assert check(holds, claim) is None
    return capsys.readouterr().out.splitlines()


def test_a_claim_that_holds_is_ticked(capsys):
    assert said(capsys, 1 + 1 == 2) == ["✓ it is so"]


def test_a_claim_that_does_not_hold_is_crossed(capsys):
    assert said(capsys, 1 + 1 == 3) == ["✗ it is so"]


def test_a_truth_value_of_numpy_counts(capsys):
    assert said(capsys, np.float64(1.0) < 2) == ["✓ it is so"]
    assert said(capsys, np.float64(3.0) < 2) == ["✗ it is so"]


class Unsure:
    def __bool__(self):
        raise ValueError("who knows")


class Everything:
    def __eq__(self, other):
        return self

    __hash__ = None


@pytest.mark.parametrize(
    "holds", [1, [1], None, Unsure(), Everything() == 3, np.array([True, True])]
)
def test_what_is_not_a_truth_value_does_not_hold_and_is_told(capsys, holds):
    cross, hint = said(capsys, holds)
    assert cross == "✗ it is so"
    assert hint.startswith("→ check(holds, claim) expects True or False; got ")


def test_a_coroutine_does_not_hold_and_never_warns(capsys):
    async def right():
        return True

    cross, hint = said(capsys, right())
    assert cross == "✗ it is so"
    assert hint.endswith("got coroutine. Await it first.")


def test_a_task_does_not_hold(capsys):
    async def main():
        check(asyncio.get_running_loop().create_future(), "it is so")

    asyncio.run(main())
    assert capsys.readouterr().out.splitlines()[1].endswith("Await it first.")


def test_arguments_in_the_wrong_order_are_told(capsys):
    cross, hint = said(capsys, "it is so", True)
    assert cross == "✗ True"
    assert "expects a sentence" in hint


def test_a_claim_that_is_no_sentence_is_told_and_keeps_its_mark(capsys):
    tick, hint = said(capsys, True, 3)
    assert tick == "✓ 3"
    assert hint == "→ check(holds, claim) expects a sentence as its claim; got int."


def test_a_claim_that_cannot_be_printed_does_not_raise(capsys):
    class Mute:
        def __str__(self):
            raise RuntimeError

    assert said(capsys, True, Mute())[0] == "✓ a claim of type Mute"


def test_a_claim_is_one_line(capsys):
    assert said(capsys, True, "it\n  is so\n") == ["✓ it is so"]


def test_a_terminal_that_knows_only_ascii_gets_words(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    check(False, "it is so")
    sys.stdout.flush()
    assert raw.getvalue().split() == b"NO it is so".split()
