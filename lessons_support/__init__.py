"""Watch what asyncio tasks really do, and draw it: record, span, draw.

Each verb is loaded at its first use, so that importing this package is quick. An old
Python reads this file too, before it is told that it is too old.
"""

_HOMES = {"record": "recorder", "span": "recorder", "draw": "chart"}

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))
    from importlib import import_module

    return getattr(import_module("{}.{}".format(__name__, _HOMES[name])), name)


def __dir__():
    return sorted(list(globals()) + __all__)
