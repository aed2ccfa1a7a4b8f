"""Draw timelines on one time axis: a picture, and the same facts in words."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from typing import Any

from lessons_support.timeline import Timeline
from lessons_support.words import alternative, describe


@dataclass(frozen=True, slots=True)
class Chart:
    """A finished chart: a PNG image, and the same facts in words.

    A notebook shows the image; a terminal and a diff get the words. For a screen reader
    the environment variable ``LESSONS_CHARTS=words`` leaves the image out: JupyterLab
    does not pass its alt text on. ``width`` and ``height`` are in CSS pixels; the image
    has two dots to each.
    """

    png: bytes = field(repr=False)
    width: int
    height: int
    text: str
    alt: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """What IPython's display protocol asks for: the data and its metadata."""
        if os.environ.get("LESSONS_CHARTS") == "words":
            return {"text/plain": self.text}, {}
        image = base64.b64encode(self.png).decode("ascii")
        shown = {"alt": self.alt, "width": self.width, "height": self.height}
        return {"image/png": image, "text/plain": self.text}, {"image/png": shown}


def draw(*timelines: Timeline, **captioned: Timeline) -> Chart:
    """The chart of one or more timelines, one below the other on the same time axis.

    A keyword is its timeline's caption, its underscores shown as spaces. As the last
    expression of a cell the chart shows itself. Raises TypeError for anything that
    is not a timeline, and RuntimeError for one that is still being recorded.
    """
    if not timelines and not captioned:
        raise TypeError("draw() expects at least one timeline, as record() gives it")
    panels = [("", x) for x in timelines]
    panels += [(name.replace("_", " "), x) for name, x in captioned.items()]
    for _, timeline in panels:
        _expect_timeline(timeline)
    text = "\n\n".join(_told(*panel) for panel in panels)

    from lessons_support.picture import paint  # it loads matplotlib

    png, width, height = paint(panels)
    return Chart(png, width, height, text, alternative(text))


def _expect_timeline(given: object) -> None:
    if isinstance(given, Timeline):
        return
    a = "an" if type(given).__name__[0] in "aeiouAEIOU" else "a"
    raise TypeError(
        "draw() expects timelines, as record() gives them; "
        f"got {a} {type(given).__name__}"
    )


def _told(caption: str, timeline: Timeline) -> str:
    first, *rest = describe(timeline)
    return "\n".join([f"{caption}: {first}" if caption else first, *rest])
