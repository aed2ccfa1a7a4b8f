"""The learner's own copies of the lessons, in a folder that git does not know.

The lessons in ``notebooks`` show their outputs to those who read them on the web. A
copy has none, so that no prediction is spoiled. And since all work is done in the
copies, a newer course, by ``git pull``, never meets it.
"""

import hashlib
import json
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lessons_support import course
from lessons_support.kernel import notebook

GIVEN = ".given.json"
"""In the folder: for each file that was given, a digest of it as it was then."""


LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "version": platform.python_version(),
}
"""What the kernel says of itself. JupyterLab marks a notebook in which it stands
otherwise as unsaved, as soon as it is opened."""


@dataclass(frozen=True)
class Copies:
    """The names of copies that were renewed, and of those that are older and stay."""

    renewed: tuple[str, ...]
    kept: tuple[str, ...]


def lay_out(lessons: Path, folder: Path | str) -> Copies:
    """Give the learner what is missing, and renew what he or she has not changed.

    What he or she has worked on stays, even where the course is newer. Raises OSError.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    given = _read(folder / GIVEN)
    renewed, kept = [], []
    for path in sorted([*lessons.glob("*.ipynb"), *lessons.glob("*.py")]):
        own, newest = folder / path.name, _digest(path)
        was, now = given.get(path.name), _digest(own)
        if now is None or (now == was != newest):
            _replace(own, _fresh(path))
            given[path.name] = newest
            renewed += [path.name] if now else []
        elif now == newest:
            given[path.name] = newest
        elif was != newest:
            kept.append(path.name)
    _replace(folder / GIVEN, json.dumps(given, indent=1))
    return Copies(tuple(renewed), tuple(kept))


def is_older(own: Path, lessons: Path = course.FOLDER) -> bool:
    """Whether a copy has been worked on, while the course got a newer lesson."""
    was = _read(own.parent / GIVEN).get(own.name)
    digests = {was, _digest(own), _digest(lessons / own.name)}
    return None not in digests and len(digests) == 3


def advice(own: Path | str) -> str:
    """What to tell of a copy that is older, and how to have the newer lesson."""
    return (
        f"{own} is older than the course's lesson. It stays as it is, for you have "
        "worked in it. To have the newer one too, rename yours in JupyterLab's file "
        "list, then start the course again (on a hub: your server). What you have "
        "done still counts."
    )


@cache
def tell_if_older() -> None:
    """In a notebook's kernel, say so once if this copy is older than the course's."""
    own = notebook()
    if own and is_older(own):
        print(advice(own.name))


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _digest(path: Path) -> str | None:
    """A digest of what a reader of a file sees, outputs left out; None without one."""
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".ipynb":
        try:
            cells = json.loads(text)["cells"]
            text = json.dumps([[x["cell_type"], "".join(x["source"])] for x in cells])
        except (ValueError, KeyError, TypeError, RecursionError):
            pass  # what is no notebook is somebody's work all the same
    return hashlib.sha256(text.encode()).hexdigest()


def _fresh(path: Path) -> str:
    """The text of a file; a notebook's without outputs, and with its claims noted."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    notebook = json.loads(text)
    notebook["metadata"] = {**notebook.get("metadata", {}), "language_info": LANGUAGE}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
            if claims := sorted(course.claims_in("".join(cell["source"]))):
                cell["metadata"] = {**cell.get("metadata", {}), course.GIVEN: claims}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _replace(path: Path, text: str) -> None:
    """Write a file so that, whatever happens, it is the old one or the new one."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
