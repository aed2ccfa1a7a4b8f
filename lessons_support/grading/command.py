"""The commands `grade`, `export` and `refresh` of ``python -m lessons_support``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path

GRADE = """\
Re-run learners' notebooks and give each exercise its verdict, with the reasons.

SUBMISSIONS are notebooks, or folders that are searched for them. A learner's name is
that of the first folder below the one you give, or else what the file's name adds to
the lesson's: submissions/ann/2.4-….ipynb and submissions/2.4-…-ann.ipynb are Ann's.

Only the answers are taken from a submission: the code below the heading of an exercise
("### Exercise 2.4a — …"). The course's own cells and checks do the rest, so what was
edited or deleted elsewhere does no harm; it is noted. A claim that holds is a point, so
a wrong answer may have some: one with all its claims is right.

Of two notebooks of a lesson in a learner's folder the one that has been worked in
counts. If both have, the second one's learner is called "ann (2)".

To grade one lesson only, name its notebooks, and an --output of their own, for each
run writes its tables anew: submissions/*/2.4-*.ipynb --output grades/2.4.

Each answer runs in a box of its own (bubblewrap, on Linux): it sees nothing of this
machine and leaves nothing behind. What is and is not safe is said at the top of
lessons_support/grading/__init__.py."""

WRITES = """\
what is written into the folder:
  grades.csv               a line for each learner and exercise; its seconds are those
                           that grading took, its finding the first that a wrong
                           answer got
  totals.csv               a line for each learner: points by lesson, and their sum,
                           out of the claims of all the lessons that were graded
  junit.xml                a test for each claim, for Jenkins, GitLab and others
  LEARNER/feedback.html    every claim, the chart of the learner's run, what it shows
  LEARNER/results.json     the same for Gradescope; also beside grades.csv, if there
                           is only one learner
  runs/                    every run, so that the same line goes on where it stopped;
                           delete it to grade afresh

The exit code is 0; 1 if a file or a folder could not be graded; 2 if nothing was
graded; 130 if the run was interrupted."""

EXPORT = """\
Write the lessons as nbgrader's source notebooks: put them into a course's
source/ASSIGNMENT, then use nbgrader as ever."""

REFRESH = "Run lessons afresh and save them with their outputs."


def parser() -> argparse.ArgumentParser:
    """The arguments of all three commands."""
    prog = "python3 -m lessons_support"
    usage = f"{prog} COMMAND ... (see {prog} grade --help)"
    found = argparse.ArgumentParser(prog=prog, usage=usage)
    commands = found.add_subparsers(prog=prog, dest="command", required=True)
    kind = argparse.RawDescriptionHelpFormatter
    _add_grade(
        commands.add_parser(
            "grade", description=GRADE, epilog=WRITES, formatter_class=kind
        )
    )
    export = commands.add_parser("export", description=EXPORT)
    export.add_argument("folder", metavar="FOLDER", type=Path)
    refresh = commands.add_parser("refresh", description=REFRESH)
    refresh.add_argument("lessons", metavar="NOTEBOOK", nargs="*", type=Path)
    return found


def _add_grade(grade: argparse.ArgumentParser) -> None:
    grade.add_argument("submissions", metavar="SUBMISSIONS", nargs="+", type=Path)
    grade.add_argument(
        "--output",
        metavar="FOLDER",
        type=Path,
        default=Path("grades"),
        help="where to write, by default ./grades",
    )
    grade.add_argument(
        "--unboxed",
        action="store_true",
        help="run answers as any other program of yours: only for people you trust",
    )
    grade.add_argument(
        "--scheduler",
        metavar="tcp://HOST:8786",
        help="run on the Dask cluster with this scheduler; its workers need the "
        "course and bubblewrap, and pip install 'asyncio-lessons[cluster]'",
    )


def main(arguments: list[str]) -> int:
    """Do what the arguments ask for; the exit code."""
    asked = parser().parse_args(arguments)
    with suppress(AttributeError):  # a terminal may know few characters
        sys.stdout.reconfigure(errors="replace")
    # Ended by another program, it leaves nothing behind either.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return COMMANDS[asked.command](asked)
    except KeyboardInterrupt:
        print("\nStopped. The same line goes on from here.", file=sys.stderr)
        return 130


def grade(asked: argparse.Namespace) -> int:
    from lessons_support.grading import box
    from lessons_support.grading.cluster import NoCluster
    from lessons_support.grading.session import Unusable

    if not asked.unboxed and asked.scheduler is None and (why := box.why_not()):
        print(
            f"{why} So nothing would be boxed: an answer could read, change and delete "
            "whatever you can. If you trust all who wrote them, add --unboxed.",
            file=sys.stderr,
        )
        return 2
    if asked.output.is_file():
        print(f"{asked.output} is a file: give a folder, new or not.", file=sys.stderr)
        return 2
    if getattr(os, "geteuid", lambda: 1)() == 0:
        print("You grade as root: an ordinary user would be safer.", file=sys.stderr)
    try:
        return asyncio.run(_graded(asked))
    except (NoCluster, Unusable) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{asked.output} cannot be written to: {error}.", file=sys.stderr)
    return 2


async def _graded(asked: argparse.Namespace) -> int:
    """Grade with runs that are made here, or on a cluster."""
    from rich.console import Console

    from lessons_support.grading.cluster import cluster
    from lessons_support.grading.judge import outcome
    from lessons_support.grading.session import Session
    from lessons_support.grading.store import Store

    async with AsyncExitStack() as stack:
        runner, at_once = outcome, 2 * (os.cpu_count() or 1)
        if asked.scheduler is not None:
            runner, at_once = await stack.enter_async_context(cluster(asked.scheduler))
        store = Store(asked.output / "runs", runner, at_once)
        session = Session(asked.output, not asked.unboxed, store, Console())
        return await session.grade(asked.submissions)


def export(asked: argparse.Namespace) -> int:
    from lessons_support.grading.nbgrader import export

    try:
        print(*export(asked.folder), sep="\n")
    except OSError as error:
        print(f"{asked.folder} cannot be written to: {error}.", file=sys.stderr)
        return 2
    return 0


def refresh(asked: argparse.Namespace) -> int:
    from lessons_support.grading.refresh import refresh

    return asyncio.run(refresh(asked.lessons))


COMMANDS = {"grade": grade, "export": export, "refresh": refresh}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
