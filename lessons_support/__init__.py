"""Watch what asyncio tasks really do, draw it, and judge it: the verbs of the lessons.

Each verb is loaded at its first use, so that importing this package is quick. An old
Python reads this file too, before it is told that it is too old.
"""

_HOMES = {
    "record": "recorder",
    "rehearse": "rehearsal",
    "span": "recorder",
    "draw": "chart",
    "check": "checks",
    "serve": "serving",
}

_IN_A_NOTEBOOK = (
    ("stop_button", "reach_awaiting_cells"),
    ("garbage", "set_aside"),
    ("progress", "note_checks"),
    ("workbook", "tell_if_older"),
)

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))
    from importlib import import_module

    for home, verb in _IN_A_NOTEBOOK:
        getattr(import_module("{}.{}".format(__name__, home)), verb)()
    return getattr(import_module("{}.{}".format(__name__, _HOMES[name])), name)


def __dir__():
    return sorted(list(globals()) + __all__)
