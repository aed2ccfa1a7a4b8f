"""Text as outlines, measured and drawn: the same on every machine, and fast.

The letters are those of DejaVu Sans, which comes with matplotlib. Their outlines join
a picture's other shapes: one path for all text of one colour is drawn in a few
milliseconds, where matplotlib's own Text takes one millisecond each.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.font_manager import get_font
from matplotlib.ft2font import LoadFlags

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
PLAIN, BOLD, CODE = "DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono"
UNKNOWN = "□"
DRAWN_AT = 64  # pixels; outlines are scaled from here


class Letter(NamedTuple):
    """A letter one pixel high: its outline, and how far on the next letter stands."""

    vertices: Any
    codes: Any
    advance: float


@lru_cache(maxsize=4096)
def letter(sign: str, font: str) -> Letter:
    """The outline of a sign; "□" for one that the font does not have."""
    face = get_font(FONTS / f"{font}.ttf")
    face.set_size(DRAWN_AT, 72)
    drawn = ord(sign if ord(sign) in _signs(font) else UNKNOWN)
    advance = face.load_char(drawn, flags=LoadFlags.NO_HINTING).linearHoriAdvance
    vertices, codes = face.get_path()
    return Letter(vertices / DRAWN_AT, codes, advance / 65536 / DRAWN_AT)


@cache
def _signs(font: str) -> frozenset[int]:
    return frozenset(get_font(FONTS / f"{font}.ttf").get_charmap())


def width(text: str, size: float, font: str = PLAIN) -> float:
    """How many pixels wide a text of that size is."""
    return size * sum(letter(sign, font).advance for sign in text)


def shortened(text: str, pixels: float, size: float, font: str = PLAIN) -> str:
    """The text on one line, or as much of its beginning as fits, and then "…"."""
    text = " ".join(text.split())
    if width(text, size, font) <= pixels:
        return text
    room = pixels - width("…", size, font)
    ends = np.cumsum([width(sign, size, font) for sign in text])
    return f"{text[: np.searchsorted(ends, room, 'right')].rstrip()}…"


def outline(x: float, y: float, text: str, size: float, font: str) -> tuple[Any, Any]:
    """The vertices and codes of a text that begins at ``x`` on the baseline ``y``."""
    vertices, codes = [np.empty((0, 2))], [np.empty(0, np.uint8)]
    for sign in text:
        drawn = letter(sign, font)
        vertices.append(drawn.vertices * (size, -size) + (x, y))
        codes.append(drawn.codes)
        x += drawn.advance * size
    return np.concatenate(vertices), np.concatenate(codes)
