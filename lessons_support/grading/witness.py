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
from types import FunctionType, ModuleType

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
    for verb in lessons_support.__all__:  # so that all of it is loaded, and sealed
        getattr(lessons_support, verb)
    publish(number, seal=seal(ip.user_module) | definitions(ip.user_module))
    move(apart)


def move(module):
    """From now on, cells are run in the namespace of a module."""
    ip = shell()
    ip.user_module, ip.user_ns = module, module.__dict__
    sys.modules["__main__"] = module


def seal(course):
    """A number for each thing that a verdict rests on, another if it was changed."""
    ip, used = shell(), set(map(package, vars(course).values())) - NOT_SEALED
    inputs = ip.input_transformer_manager
    hooks = [ip.ast_transformers, ip.input_transformers_post, inputs.line_transforms]
    hooks += [inputs.cleanup_transforms, inputs.token_transformers]
    hooks += ip.events.callbacks.values()
    found = {
        "IPython": [tuple(map(id, x)) for x in hooks],
        "sys.settrace": sys.gettrace(),
        "sys.setprofile": sys.getprofile(),
    }
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in SEALED:
            found[name] = id(module), identities(module, int | float | str | tuple)
        elif name.partition(".")[0] in used:  # which may change themselves
            found[name] = id(module), foreign(module)
    return {name: hash(str(value)) for name, value in found.items()}


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
    publish(number, seal=seal(course) | definitions(course))
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
