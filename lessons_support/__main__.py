"""Set the course up, once, then open it or test it.

python3 -m lessons_support [open] [JupyterLab's arguments]
    open the lessons in JupyterLab, for example with --no-browser --port=9000: your own
    copies of them, in the folder my-lessons, and in front the one to go on with

python3 -m lessons_support progress [FOLDER]
    say which exercises you have done, in what time, and where to go on: with your own
    copies of the lessons, or with those in FOLDER; a line for each learner, if theirs
    are in folders in FOLDER

python3 -m lessons_support copy FOLDER
    lay copies of the lessons out in FOLDER, as for "open": for a class on a hub

python3 -m lessons_support site [FOLDER]
    write a website of the lessons, for reading, into FOLDER (or "site")

python3 -m lessons_support test [pytest's arguments]
    run every notebook and the tests, or only what the arguments name; with
    "-m equipment" those tests that need a browser, PostgreSQL or boxes for answers

python3 -m lessons_support grade SUBMISSIONS... [--output FOLDER]
    re-run learners' notebooks, boxed, and write grades and feedback; see grade --help

python3 -m lessons_support refresh [NOTEBOOK...]
    run lessons afresh and save them with their outputs

python3 -m lessons_support export FOLDER
    write the lessons as nbgrader's source notebooks

The first run makes the folder .venv and installs the packages into it.
To start afresh, delete that folder.
"""

import os
import sys

# An old Python must get as far as this sentence, so this file and __init__.py
# keep to syntax and letters that Python 2.7 can read.
if sys.version_info < (3, 11):
    sys.exit(
        "The course needs Python 3.11 or newer and this is Python {}.{}: run the same "
        "line with a newer one, for example python3.12 in place of python3.".format(
            *sys.version_info[:2]
        )
    )


if not __package__:
    sys.exit("Write it with -m, in the clone: python3 -m lessons_support")

FOLDER = "my-lessons"
GRADING = ("grade", "refresh", "export")
COMMANDS = ("copy", "open", "progress", "site", "test", "-h", "--help") + GRADING

# Tests mostly wait, so four at a time; but not those of one file, which share runs.
SIDE_BY_SIDE = ["-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]


def main(arguments):
    """Do what the arguments ask for; without any, open the course."""
    from lessons_support.environment import Environment, is_ours

    course = Environment.here()
    command = "open"
    if arguments and arguments[0] in COMMANDS:
        command = arguments.pop(0)
    elif arguments and not arguments[0].startswith("-"):
        sys.exit(
            "There is no command {}: see python3 -m lessons_support --help.".format(
                arguments[0]
            )
        )
    if command in ("copy", "progress", "site") and set(arguments) & {"-h", "--help"}:
        command = "--help"
    if command == "open":
        folder = copy_lessons(course.project, course.project / FOLDER)
        if is_ours(folder):
            course.run("jupyterlab", *(in_front(folder) + arguments))
        print(
            "The course is open already; Ctrl-C, twice, ends it where it was started, "
            "and so does Shut Down in JupyterLab's menu File. Its address is in the "
            "line with {}.".format(folder)
        )
        course.run("jupyter", "server", "list")
    elif command == "copy" and len(arguments) == 1:
        folder = copy_lessons(course.project, os.path.abspath(arguments[0]))
        print("The lessons are in {}.".format(folder))
    elif command == "copy":
        sys.exit("copy needs one folder: python3 -m lessons_support copy FOLDER")
    elif command == "progress":
        say_progress(course.project, arguments)
    elif command == "site":
        course.run("lessons_support.website", *arguments, folder=os.getcwd())
    elif command == "test":
        course.run("pytest", *(SIDE_BY_SIDE + arguments))
    elif command in GRADING:
        from lessons_support.grading.command import parser

        # What does not fit, and --help, need no set-up.
        parser().parse_args([command] + arguments)
        module = "lessons_support.grading.command"
        course.run(module, command, *arguments, folder=os.getcwd())
    else:
        print(__doc__.strip())


def copy_lessons(project, folder):
    """Lay the learner's copies out, say which are newer or older, return the folder."""
    from lessons_support.workbook import advice, lay_out

    try:
        copies = lay_out(project / "notebooks", folder)
    except OSError as error:
        sys.exit("The copies of the lessons could not be made: {}.".format(error))
    if copies.renewed:
        print("Renewed, as the course is newer: {}.".format(", ".join(copies.renewed)))
    for name in copies.kept:
        print(advice(os.path.join(folder, name)))
    return folder


def say_progress(project, arguments):
    """Print what is done of the learner's lessons, or of those in a folder given."""
    from pathlib import Path

    from lessons_support import progress
    from lessons_support.workbook import advice, is_older

    # On Binder there are no copies: who comes there works in the lessons themselves.
    folders = project / FOLDER, project / "notebooks"
    noted = (x for x in folders if (x / progress.FILE).is_file())
    folder, nothing = next(noted, folders[0]), "No lesson has been opened yet."
    if len(arguments) > 1:
        sys.exit(
            "progress takes one folder: python3 -m lessons_support progress [FOLDER]"
        )
    if arguments:
        folder = Path(os.path.abspath(arguments[0]))
        nothing = "There are no lessons in {}.".format(folder)
        if not folder.is_dir():
            sys.exit("There is no folder {}, with your lessons.".format(folder))
    theirs = progress.table(progress.lessons(folder)) or progress.overview(folder)
    print(theirs or nothing)
    for path in sorted(folder.glob("*.ipynb")):
        if is_older(path, project / "notebooks"):
            print("\n" + advice(path.name))


def in_front(folder):
    """List the arguments by which JupyterLab shows the lesson to go on with."""
    from lessons_support import progress

    arguments = ["--ServerApp.root_dir={}".format(folder)]
    lesson = progress.to_go_on_with(progress.lessons(folder))
    if lesson:
        arguments.append("--LabApp.default_url=/lab/tree/" + lesson.path.name)
    # In a container the only user is root, and Jupyter then asks for its consent.
    # The server listens on this machine alone, and wants its token.
    if getattr(os, "geteuid", lambda: 1)() == 0:
        arguments.append("--allow-root")
    # Of what Jupyter says, the address is left, and errors. A kernel warns, too, where
    # others on this machine could listen to what it is sent: so that is encrypted.
    quiet = ["--log-level=ERROR", "--LabApp.log_level=ERROR"]
    return arguments + quiet + ["--KernelManager.transport_encryption=auto"]


if __name__ == "__main__":
    main(sys.argv[1:])
