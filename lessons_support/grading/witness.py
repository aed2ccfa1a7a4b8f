"""What the grader sends into a kernel to watch an answer there, and its check.

It is sent as text, and again after the answer: whatever an answer does to modules, it
cannot reach this one, which does not exist yet. All it finds out it publishes as text
with a number that was drawn for this run; the grader judges. Nothing here is proof
against an answer that goes for it by name: see the package's docstring.
"""

import json
import os
import sys
from dataclasses import is_dataclass
from pathlib import Path
from types import FunctionType, MethodType, ModuleType

import lessons_support

SEALED = {"asyncio", "builtins", "lessons_support"}
"""The packages on which each verdict rests. So it does on those that a lesson uses."""

NOT_SEALED = {"__main__", "IPython"}
"""The answer's own, and what a kernel changes itself; its hooks are sealed."""

OF_EACH_CELL = {"_", "input"}
"""Built-in names that IPython sets for each cell."""

SAYS = ("eq", "ne", "lt", "le", "gt", "ge", "contains", "len", "iter", "getitem")
SAYS = {f"__{x}__" for x in (*SAYS, "str", "repr", "format", "bool", "int", "float")}
"""The methods by which an object answers the questions of a check."""

claims, timelines, state = [], [], {}


def shell():
    return sys.modules["IPython"].get_ipython()


def publish(number, **facts):
    text = json.dumps({"number": number, **facts})
    shell().display_pub.publish({"text/plain": text})


# --- before the answer


def enter(number):
    """Give the answer a namespace of its own, and note what it must not change."""
    ip = shell()
    apart = ModuleType("__main__")
    apart.__dict__.update(ip.user_ns)
    ip.kept = {"course": ip.user_module, "files": files(), "environ": {**os.environ}}
    ip.kept["callbacks"] = [x for calls in ip.events.callbacks.values() for x in calls]
    for verb in lessons_support.__all__:  # so that all of it is loaded, and sealed
        getattr(lessons_support, verb)
    found = seal(ip.user_module) | definitions(ip.user_module)
    publish(number, seal=found, hooks=in_words(hooks()))
    move(apart)


def move(module):
    """From now on, cells are run in the namespace of a module."""
    ip = shell()
    ip.user_module, ip.user_ns = module, module.__dict__
    sys.modules["__main__"] = module


def seal(course):
    """A number for each thing that a verdict rests on, another if it was changed."""
    events, used = shell().events, set(map(package, vars(course).values())) - NOT_SEALED
    caller = id(events), sorted(vars(events)), id(type(events).trigger)
    found = {
        "IPython": [*caller, *(tuple(map(id, x)) for x in hooks().values())],
        "sys.settrace": sys.gettrace(),
        "sys.setprofile": sys.getprofile(),
    }
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in SEALED:
            found[name] = id(module), identities(module, int | float | str | tuple)
        elif name.partition(".")[0] in used:  # which may change themselves
            found[name] = id(module), foreign(module)
    return {name: hash(str(value)) for name, value in found.items()}


def hooks():
    """What IPython calls when it runs a cell, by where that is noted."""
    ip = shell()
    inputs = ip.input_transformer_manager
    return {
        "ast_transformers": ip.ast_transformers,
        "input_transformers_post": ip.input_transformers_post,
        "line_transforms": inputs.line_transforms,
        "cleanup_transforms": inputs.cleanup_transforms,
        "token_transformers": inputs.token_transformers,
        **ip.events.callbacks,
    }


def in_words(hooks):
    """The names of what is called, by where it is noted, as far as it is a function."""
    return {str(place): [named(x) for x in calls] for place, calls in hooks.items()}


def named(call):
    function = call.__func__ if type(call) is MethodType else call
    is_one = type(function) is FunctionType
    return str(function.__code__.co_name if is_one else type(call).__name__)[:60]


def definitions(course):
    return {"what the lesson defines": hash(str(identities(course)))}


def package(value):
    """Where an object comes from: the first part of its module's name."""
    kind = "__name__" if isinstance(value, ModuleType) else "__module__"
    return str(getattr(value, kind, "")).partition(".")[0]


def foreign(module):
    """The functions in a module, and those in its classes, that come from a cell."""
    found = dict(vars(module))
    for name, value in list(found.items()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            found |= {f"{name}.{x}": y for x, y in list(vars(value).items())}
    return sorted(name for name, value in found.items() if from_cell(value))


def from_cell(value):
    code = getattr(getattr(value, "__func__", value), "__code__", None)
    return "ipykernel_" in str(getattr(code, "co_filename", ""))


def identities(module, constants=ModuleType):
    """What a module's names stand for, and those of its classes, by identity."""
    found = {}
    for name, value in list(vars(module).items()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            found |= {f"{name}.{x}": identity(y) for x, y in list(vars(value).items())}
        if callable(value) or isinstance(value, ModuleType | constants):
            found[name] = identity(value)
    return sorted((x, y) for x, y in found.items() if x not in OF_EACH_CELL)


def identity(value):
    code = getattr(value, "__code__", None)
    defaults = getattr(value, "__defaults__", None)
    return id(value), id(code), id(defaults)


def files():
    """The Python files in the working folder, and what is in them."""
    return {x.name: x.read_bytes() for x in Path().glob("*.py") if x.is_file()}


# --- after the answer


def arm(number, asked):
    """Hand what was asked for over to the course's namespace; claims are noted."""
    kept, answers = shell().kept, shell().user_ns
    course = kept["course"]
    take_away_callbacks(kept["callbacks"])
    found = seal(course) | definitions(course)
    publish(number, seal=found, hooks=in_words(hooks()))
    state.update(number=number, asked=asked, course=course)
    state["wrote"] = restore(kept["files"])
    os.environ.clear()
    os.environ.update(kept["environ"])
    move(course)
    for name in asked:
        vars(course).pop(name, None)
        if name in answers:
            vars(course)[name] = answers[name]
    vars(course)[f"_{number}"] = globals()
    listen(vars(course))


def take_away_callbacks(kept):
    """Unregister what packages have registered for the answer, as matplotlib does.

    So none is called while the check runs, and it does not matter what else it would
    call. Other callbacks stay, to be found. All are in plain lists from now on.
    """
    events, known = shell().events, set(map(id, kept))
    events.callbacks = {
        event: [x for x in calls if id(x) in known or not is_installed(x)]
        for event, calls in events.callbacks.items()
    }


def is_installed(callback):
    """Whether a callback is a function of an installed file, or of its magics.

    No other object's method: a thread's, for example, calls what it was given.
    """
    function = callback
    if type(callback) is MethodType:
        function, kind = callback.__func__, type(callback.__self__)
        is_magics = "IPython.core.magic.Magics" in map(full_name, kind.__mro__)
        if not is_magics or kind.__module__ != function.__module__:
            return False
    if type(function) is not FunctionType:
        return False
    file, module = function.__code__.co_filename, sys.modules.get(function.__module__)
    is_whole = module is not None and function.__globals__ is vars(module)
    below = any(Path(file).is_relative_to(x) for x in (sys.prefix, sys.base_prefix))
    return is_whole and below and os.path.isfile(file)


def full_name(kind):
    return f"{kind.__module__}.{kind.__qualname__}"


def restore(wanted):
    """Write the course's files again; which were changed or added."""
    found = files()
    wrote = [x for x in found | wanted if found.get(x) != wanted.get(x)]
    for name in wrote:
        Path(name).unlink(missing_ok=True)
        if name in wanted:
            Path(name).write_bytes(wanted[name])
    return wrote


def listen(course):
    """Let `check` note each claim, `rehearse` each timeline, `record` its use."""
    from lessons_support.checks import _is_truth_value, check
    from lessons_support.recorder import record
    from lessons_support.rehearsal import rehearse

    def noted(holds, claim):
        claims.append([_is_truth_value(holds) and bool(holds), str(claim)])
        check(holds, claim)

    def rehearsed(*args, **kwargs):
        timelines.append(rehearse(*args, **kwargs))
        return timelines[-1]

    def recorded(*args, **kwargs):
        state["real time"] = True
        return record(*args, **kwargs)

    heard = {check: noted, rehearse: rehearsed, record: recorded}
    for name, value in list(course.items()):
        if isinstance(value, FunctionType | type) and value in heard:
            course[name] = heard[value]


# --- after the check


def report():
    """Publish the claims, and what is suspicious."""
    given = [vars(state["course"]).get(x) for x in state["asked"]]
    for timeline in timelines:
        given += [timeline.result, *timeline.printed]
    publish(
        state["number"],
        claims=claims,
        seal=seal(state["course"]),
        hooks=in_words(hooks()),
        wrote=state["wrote"],
        liars=sorted(set(liars(given)))[:5],
        noisy="real time" in state or any(x.blocked or x.stopped for x in timelines),
    )


def liars(values, depth=0):
    """The classes of objects that decide themselves what they are equal to."""
    for value in values[:1000] if depth < 6 else ():
        kind = type(value)
        if any(map(speaks, kind.__mro__)):
            yield kind.__name__
        elif issubclass(kind, tuple | list | set | frozenset):
            yield from liars(list(value), depth + 1)
        elif issubclass(kind, dict):
            yield from liars([*value, *value.values()], depth + 1)


def speaks(kind):
    """Whether a class made by the answer answers for itself."""
    if kind in vars(state["course"]).values():
        return False
    for name in SAYS & set(vars(kind)):
        method = vars(kind)[name]
        file = getattr(getattr(method, "__code__", None), "co_filename", "")
        generated = is_dataclass(kind) and file == "<string>"
        shipped = os.path.isfile(file) and not from_cell(method)
        if not (generated or shipped) and isinstance(method, FunctionType):
            return True
    return False


# --- the canary


def again():
    """Once more, without the answer and without a chart: no claim must hold now."""
    claims.clear()
    timelines.clear()
    vars(state["course"])["draw"] = lambda *_, **__: None
