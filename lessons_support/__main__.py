"""Set the course up, once, then open it or test it.

python3 -m lessons_support [open] [JupyterLab's arguments]
    open the first lesson in JupyterLab, for example with --no-browser --port=9000

python3 -m lessons_support test [pytest's arguments]
    run every test and every notebook, or only what the arguments name

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


ELSEWHERE = ("grade", "refresh", "export")


def main(arguments):
    """Do what the arguments ask for; without any, open the course."""
    from lessons_support.environment import Environment

    course = Environment.here()
    command = "open"
    if arguments and arguments[0] in ("open", "test", "-h", "--help") + ELSEWHERE:
        command = arguments.pop(0)
    elif arguments and not arguments[0].startswith("-"):
        sys.exit("There is no command {}: see --help.".format(arguments[0]))
    if command == "open":
        course.run("jupyterlab", *(first_lesson(course.project) + arguments))
    elif command == "test":
        course.run("pytest", *arguments)
    elif command in ELSEWHERE:
        from lessons_support.grading.command import parser

        # What does not fit, and --help, need no set-up.
        parser().parse_args([command] + arguments)
        module = "lessons_support.grading.command"
        course.run(module, command, *arguments, folder=os.getcwd())
    else:
        print(__doc__.strip())


def first_lesson(project):
    """List JupyterLab's arguments that put the first lesson in front."""
    folder = project / "notebooks"
    lessons = sorted(path.name for path in folder.glob("*.ipynb"))
    arguments = ["--ServerApp.root_dir={}".format(folder)]
    if lessons:
        arguments.append("--LabApp.default_url=/lab/tree/" + lessons[0])
    # In a container the only user is root, and Jupyter then asks for its consent.
    # The server listens on this machine alone, and wants its token.
    if getattr(os, "geteuid", lambda: 1)() == 0:
        arguments.append("--allow-root")
    return arguments


if __name__ == "__main__":
    main(sys.argv[1:])
