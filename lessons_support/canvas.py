"""A sheet of paper in CSS pixels, y downwards: bars, areas and texts, as one PNG.

It uses matplotlib's Agg renderer, never pyplot nor a figure: nothing global is read or
changed, nothing stays alive, and a hundred modules are not loaded. All shapes of one
ink become one compound path: a patch a bar takes half a minute (100,000 hatched bars).
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.path import Path
from matplotlib.transforms import Affine2D
from PIL import Image

from lessons_support.letters import PLAIN, outline

LARGE = 2_000_000  # dots; a larger image is not worth the time to squeeze it
PER_INCH, DOTS = 100, 2  # CSS pixels to an inch, and image dots to a CSS pixel


class Ink(NamedTuple):
    """How a shape looks: its face, its edge, and what it is hatched with."""

    face: str
    edge: str = "none"
    width: float = 0.0
    hatch: str = ""


class Canvas:
    """Shapes and texts on white; ``inks`` lie on top of each other in this order."""

    def __init__(self, *inks: Ink) -> None:
        self._shapes: dict[Ink, list[Any]] = {ink: [] for ink in inks}

    def bars(self, ink: Ink, left: Any, right: Any, top: Any, bottom: Any) -> None:
        """Rectangles, one for each number of whichever argument is an array."""
        sides = np.broadcast_arrays(*np.atleast_1d(left, right, top, bottom))
        left, right, top, bottom = (np.round(x * DOTS) / DOTS for x in sides)
        across, down = [left, right, right, left], [top, top, bottom, bottom]
        self.shapes(ink, np.stack([np.stack(across, 1), np.stack(down, 1)], 2))

    def shapes(self, ink: Ink, corners: Any) -> None:
        """Polygons of equally many corners: an array of (polygon, corner, x and y)."""
        if len(corners):
            self._shapes[ink].append(_polygons(np.asarray(corners, float)))

    def uses(self, ink: Ink) -> bool:
        """Whether anything is drawn in this ink."""
        return bool(self._shapes[ink])

    def text(
        self, x: float, y: float, text: str, size: float, ink: Ink, font: str = PLAIN
    ) -> None:
        """A line of text, ``size`` pixels high, from ``x`` on the baseline ``y``."""
        self._shapes[ink].append(outline(x, y, text, size, font))

    def png(self, width: int, height: int) -> bytes:
        """The image: ``width`` by ``height`` CSS pixels, two dots to each."""
        renderer = RendererAgg(width * DOTS, height * DOTS, PER_INCH * DOTS)
        np.asarray(renderer.buffer_rgba())[:] = 255  # white
        place = Affine2D().scale(DOTS, -DOTS).translate(0, height * DOTS)
        used = {ink: shapes for ink, shapes in self._shapes.items() if shapes}
        for ink, shapes in used.items():
            path = Path(*map(np.concatenate, zip(*shapes, strict=True)))
            _draw(renderer, ink, path, place)
        return _compressed(renderer, list(used))


def _draw(renderer: RendererAgg, ink: Ink, path: Path, place: Affine2D) -> None:
    """Draw a path in an ink."""
    look = renderer.new_gc()
    look.set_linewidth(ink.width)
    look.set_joinstyle("miter")
    look.set_snap(False)
    if ink.edge != "none":
        look.set_foreground(ink.edge)
    if ink.hatch:
        look.set_hatch(ink.hatch)
        look.set_hatch_color(ink.edge)
        look.set_hatch_linewidth(0.8)
    renderer.draw_path(look, path, place, to_rgb(ink.face))


def _polygons(corners: Any) -> tuple[Any, Any]:
    """The vertices and codes of closed polygons."""
    count, size, _ = corners.shape
    closed = np.concatenate([corners, corners[:, :1]], axis=1)
    codes = np.full(size + 1, Path.LINETO, Path.code_type)
    codes[0], codes[-1] = Path.MOVETO, Path.CLOSEPOLY
    return closed.reshape(-1, 2), np.tile(codes, count)


def _compressed(renderer: RendererAgg, inks: list[Ink]) -> bytes:
    """The drawing as a PNG of the inks' colours alone, an eighth of the size of all."""
    image = Image.fromarray(np.asarray(renderer.buffer_rgba())).convert("RGB")
    palette, file = Image.new("P", (1, 1)), BytesIO()
    palette.putpalette(_palette(inks))
    image = image.quantize(palette=palette, dither=Image.Dither.NONE)
    small = image.width * image.height < LARGE
    image.save(file, "PNG", compress_level=9 if small else 6)
    return file.getvalue()


def _palette(inks: list[Ink]) -> list[int]:
    """White and the inks' colours; the greys among them soften the letters' edges."""
    used = {to_rgb(c) for ink in inks for c in (ink.face, ink.edge) if c != "none"}
    colours = [(1, 1, 1), *sorted(used)]
    return [round(255 * part) for colour in colours for part in colour]
