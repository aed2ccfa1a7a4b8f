"""check: say of a claim whether it holds."""

from __future__ import annotations

import inspect
from collections import deque
from typing import Any

KEPT, BROKEN, HINT = "✓", "✗", "→"

said: deque[tuple[str, bool]] = deque(maxlen=100)
"""The last claims that were checked, and of each whether it held."""


def check(holds: Any, claim: str) -> None:
    """Print ``✓ claim`` if ``holds`` is true, ``✗ claim`` if it is not.

    ``holds`` is a truth value, as ``==`` and ``<`` give it: True or False, also
    numpy's. Anything else counts as not true, and a line below says what it was.
    Nothing is returned, so that a cell that ends with a check shows its line only.

    Raises nothing, whatever it is given.
    """
    true = _is_truth_value(holds) and bool(holds)
    sentence = in_one_line(claim)
    said.append((sentence, true))
    _say(f"{KEPT if true else BROKEN} {sentence}")
    if hint := _hint(holds, claim):
        _say(f"{HINT} {hint}")


def _is_truth_value(holds: Any) -> bool:
    kind = type(holds)
    numpys = kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_")
    return kind is bool or numpys


def in_one_line(claim: Any) -> str:
    """A claim as it is printed."""
    try:
        return " ".join(str(claim).split())
    except Exception:
        return f"a claim of type {type(claim).__name__}"


def _hint(holds: Any, claim: Any) -> str:
    """What to do about arguments that are not a truth value and a sentence."""
    if inspect.iscoroutine(holds):
        holds.close()  # or it would complain in a later cell
    if not isinstance(claim, str):
        kind = type(claim).__name__
        return f"check(holds, claim) expects a sentence as its claim; got {kind}."
    if _is_truth_value(holds):
        return ""
    if isinstance(holds, str):
        return "check(holds, claim) expects True or False first, then the claim."
    kind = type(holds).__name__
    advice = " Await it first." if hasattr(type(holds), "__await__") else ""
    return f"check(holds, claim) expects True or False; got {kind}.{advice}"


def _say(line: str) -> None:
    try:
        print(line)
    except UnicodeEncodeError:  # a terminal that knows only ASCII
        print(line.translate({ord(KEPT): "ok", ord(BROKEN): "NO", ord(HINT): "->"}))
