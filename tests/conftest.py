"""What holds for all tests."""

import signal

# A script ignores Ctrl-C in what it starts in the background, and so would all that
# the tests start: some of that is interrupted on purpose.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files are run side by side, so what takes longest is begun first.
LONGEST = (
    "test_exercises",
    "test_browser",
    "test_grading_hostile",
    "test_serving",
    "test_run_all",
    "test_cpython_suite",
    "test_environment",
)


def pytest_collection_modifyitems(items):
    """Put the files that take longest in front; the notebooks remain at the end."""
    items.sort(key=lambda item: rank(item.path.stem))


def rank(name):
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)
