"""The learner's side: which files are submissions, and the answers in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lessons_support.grading.answer import Answer, answer, task_of
from lessons_support.grading.lesson import Cell, Lesson, cells_of, lessons

LARGEST = 20_000_000
"""Bytes of a file that is still read; a lesson has at most 200,000."""

DOWNLOADED_AGAIN = re.compile(r" ?\(\d+\)$")
"""What a browser adds to the name of a file that is there already."""

PACKED = {".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip"}
"""How the names of files end that may have notebooks in them."""


class Misfit(ValueError):
    """A file that cannot be graded: which, what is wrong, and what to do.

    ``learner`` is the folder that it lay in, or "" where it lay in none.
    """

    learner = ""

    def __init__(self, sentence: str) -> None:
        """With a sentence that can be written, whatever a file is called."""
        super().__init__(printable(sentence))


@dataclass(frozen=True)
class Submission:
    """The answers of one learner to the exercises of one lesson, by exercise."""

    learner: str
    lesson: Lesson
    answers: dict[str, Answer]

    @property
    def is_begun(self) -> bool:
        """Whether it has an answer that is not the cell as it was shipped."""
        given = [(x, self.answers[x.name].code) for x in self.lesson.exercises]
        return any(code and not x.is_frame(code) for x, code in given)


def read_all(
    places: list[Path], without: Path | None = None
) -> tuple[list[Submission], list[Misfit]]:
    """The submissions in files and folders, and what cannot be graded.

    ``without`` is a folder that is none of a learner's, if it is in one of the places.

    Of a learner's notebooks of the same lesson those count that have been worked in. If
    there are several even so, the second one's learner is "ann (2)". The first is the
    one whose file has the lesson's own name.
    """
    course = lessons()
    found: dict[tuple[str, str], dict[Path, Submission]] = {}
    misfits: list[Misfit] = []
    for path, root in dict.fromkeys(_notebooks(places, misfits, without)):
        try:
            one = read(path, root, course)
        except Misfit as error:
            error.learner = _folder(path, root)
            misfits.append(error)
        else:
            found.setdefault((one.learner, one.lesson.name), {})[path] = one
    taken = set(found)
    return [x for same in found.values() for x in _told_apart(same, taken)], misfits


def _told_apart(
    same: dict[Path, Submission], taken: set[tuple[str, str]]
) -> Iterator[Submission]:
    """Submissions of one learner and lesson: all but the first get a number."""
    count = len(same)
    same = {x: y for x, y in same.items() if y.is_begun} or same
    ordered = sorted(same, key=lambda x: x.stem.lower() != same[x].lesson.name.lower())
    number = 1
    for path in ordered:
        one = _noted(same[path], path, count) if count > 1 else same[path]
        learner = one.learner
        while path is not ordered[0] and (learner, one.lesson.name) in taken:
            number += 1
            learner = f"{one.learner} ({number})"
        taken.add((learner, one.lesson.name))
        yield replace(one, learner=learner)


def _noted(one: Submission, path: Path, count: int) -> Submission:
    """A submission whose answers say from which of several notebooks they are."""
    note = f"There are {count} notebooks of this lesson: this one is "
    note = printable(f"{note}{path.name}.")
    answers = {
        name: replace(x, notes=(note, *x.notes)) for name, x in one.answers.items()
    }
    return replace(one, answers=answers)


def _notebooks(
    places: list[Path], misfits: list[Misfit], without: Path | None
) -> Iterator[tuple[Path, Path]]:
    """The notebooks in files and folders, each with the folder that it was found in."""
    for place in places:
        if not os.path.isdir(place):  # which raises nothing
            yield place, place.parent
            continue
        before = len(misfits)
        entries = _entries(place, misfits, place)
        entries = [x for x in entries if not _is_same(x, without)]
        found = [x for entry in entries for x in _below(entry, misfits, place)]
        yield from ((x, place) for x in found)
        if not found and len(misfits) == before:
            misfits.append(Misfit(f"{place} has no notebook (*.ipynb) in it."))


def _below(entry: Path, misfits: list[Misfit], root: Path) -> list[Path]:
    """The notebooks in what lies in a place; a folder with none of them is a misfit."""
    if not os.path.isdir(entry):
        if entry.suffix.lower() in PACKED and not entry.with_suffix("").is_dir():
            misfits.append(Misfit(f"{entry} is packed: unpack it into a folder."))
        return [entry] if _is_notebook(entry) else []
    before, folders, found = len(misfits), [entry], []
    why = f"{entry} has no notebook (*.ipynb) in it: ask for the notebook itself."
    while folders:
        folder = folders.pop()
        if folder.is_symlink():
            why = f"{folder} is a link to a folder: ask for the notebook itself."
            continue
        inside = _entries(folder, misfits, root)
        folders += filter(os.path.isdir, inside)
        found += [x for x in inside if _is_notebook(x) and not os.path.isdir(x)]
    if not found and len(misfits) == before and not entry.name.startswith("."):
        misfits.append(_misfit(why, entry, root))
    return sorted(found)


def _entries(folder: Path, misfits: list[Misfit], root: Path) -> list[Path]:
    """What is in a folder, but for what programs leave there."""
    try:
        return sorted(x for x in folder.iterdir() if not _is_left(x))
    except OSError as error:
        text = f"{folder} cannot be read: {error.strerror}."
        misfits.append(_misfit(text, folder, root))
        return []


def _is_left(path: Path) -> bool:
    """Whether a program left it there: JupyterLab its copies, macOS notes on files."""
    is_folder = path.name in (".ipynb_checkpoints", "__MACOSX")
    return is_folder or path.name.startswith("._")


def _is_notebook(path: Path) -> bool:
    return path.suffix.lower() == ".ipynb"


def _is_same(path: Path, other: Path | None) -> bool:
    return other is not None and path.absolute() == other.absolute()


def _misfit(text: str, path: Path, root: Path) -> Misfit:
    """A misfit of the learner in whose folder a file or folder is."""
    found = Misfit(text)
    found.learner = _folder(path / "any", root)
    return found


def read(path: Path, root: Path, course: dict[str, Lesson]) -> Submission:
    """The submission in a file below a folder; raises Misfit."""
    cells = _cells(path)
    titles = {y.name: y.title for x in course.values() for y in x.exercises}
    names = {task_of(x, titles) for x in cells}
    found = [(len(names & {y.name for y in x.exercises}), x) for x in course.values()]
    most, lesson = max(found, key=lambda x: x[0])  # of equals the first
    if not most:
        raise Misfit(
            f"{path} has none of the course's exercises (a heading such as "
            f"'### Exercise {lesson.exercises[0].name} — …'): is it the right file?"
        )
    answers = {x.name: answer(x, lesson, cells) for x in lesson.exercises}
    return Submission(_learner(path, root, lesson), lesson, answers)


def _cells(path: Path) -> list[Cell]:
    try:
        return cells_of(_text(path))
    except Misfit:
        raise
    except OSError as error:
        raise Misfit(f"{path} cannot be read: {error.strerror}.") from None
    except Exception:  # whatever a parser says of a file that is broken on purpose
        raise Misfit(
            f"{path} is not a notebook: it is empty or damaged. Ask for it again."
        ) from None


def _text(path: Path) -> str:
    if not path.exists() and not path.is_symlink():
        raise Misfit(f"{path} does not exist: give a notebook, or a folder.")
    if path.is_symlink() or not path.is_file():
        raise Misfit(f"{path} is a link or no ordinary file: ask for the file itself.")
    if path.stat().st_size > LARGEST:
        raise Misfit(
            f"{path} has more than {LARGEST // 1_000_000} MB: ask for it again, saved "
            "after Clear All Outputs."
        )
    return path.read_text(encoding="utf-8-sig")


def _learner(path: Path, root: Path, lesson: Lesson) -> str:
    """The first folder below the root, or what the file's name adds to the lesson's."""
    if len(path.relative_to(root).parts) > 1:
        return _folder(path, root) or "nameless"
    stem = DOWNLOADED_AGAIN.sub("", path.stem)
    rest = re.sub(re.escape(lesson.name), "", stem, flags=re.I).strip(" -_.()")
    return printable(rest or root.resolve().name) or "nameless"


def _folder(path: Path, root: Path) -> str:
    """The name of the first folder below the root, "" where there is none."""
    folders = path.relative_to(root).parts[:-1]
    return printable(folders[0]) if folders else ""


def printable(text: str) -> str:
    """Text without line breaks and control characters, not even for a terminal."""
    return "".join(x if x.isprintable() else "�" for x in text).strip()
