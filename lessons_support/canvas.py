"""A sheet of paper in CSS pixels, y downwards: bars, areas and texts, as one PNG.

It uses matplotlib's objects and the Agg canvas, never pyplot: nothing global is read
or changed, and nothing stays alive. All shapes of one ink become one compound path,
which stays fast where a patch a bar takes half a minute (100,000 hatched bars).
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
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
        self._place = Affine2D()  # set when the height is known

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
        self._place.clear().scale(DOTS, -DOTS).translate(0, height * DOTS)
        size, dpi = (width / PER_INCH, height / PER_INCH), PER_INCH * DOTS
        figure = Figure(size, dpi, facecolor="white", edgecolor="none", layout="none")
        figure.patch.set(sketch_params=None, path_effects=[])
        canvas = FigureCanvasAgg(figure)
        for ink, shapes in self._shapes.items():
            if shapes:
                figure.add_artist(self._patch(ink, shapes))
        canvas.draw()
        return _compressed(
            canvas, [ink for ink, shapes in self._shapes.items() if shapes]
        )

    def _patch(self, ink: Ink, shapes: list[Any]) -> PathPatch:
        patch = PathPatch(Path(*map(np.concatenate, zip(*shapes, strict=True))))
        patch.set(facecolor=ink.face, edgecolor=ink.edge, linewidth=ink.width)
        patch.set(linestyle="solid", antialiased=True, snap=False)
        patch.set(hatch=ink.hatch, hatch_linewidth=0.8, hatchcolor=ink.edge)
        patch.set(transform=self._place, sketch_params=None, path_effects=[])
        return patch


def _polygons(corners: Any) -> tuple[Any, Any]:
    """The vertices and codes of closed polygons."""
    count, size, _ = corners.shape
    closed = np.concatenate([corners, corners[:, :1]], axis=1)
    codes = np.full(size + 1, Path.LINETO, Path.code_type)
    codes[0], codes[-1] = Path.MOVETO, Path.CLOSEPOLY
    return closed.reshape(-1, 2), np.tile(codes, count)


def _compressed(canvas: FigureCanvasAgg, inks: list[Ink]) -> bytes:
    """The canvas as a PNG of the inks' colours alone, an eighth of the size of all."""
    size, pixels = canvas.get_width_height(), canvas.buffer_rgba()
    image = Image.frombuffer("RGBA", size, pixels, "raw", "RGBA", 0, 1).convert("RGB")
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
