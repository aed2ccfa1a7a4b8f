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
from types import FunctionType, ModuleType

SEALED = {"asyncio", "builtins", "lessons_support"}
"""The packages on whose functions a verdict rests."""

HOOKS = (
    "ast_transformers",
    "input_transformers_post",
    "input_transformer_manager.cleanup_transforms",
    "input_transformer_manager.line_transforms",
    "input_transformer_manager.token_transformers",
)

LESSONS = "the lesson's "

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
    ip.seal = {"course": ip.user_module, "parts": seal(), "files": files()}
    ip.seal["environment"] = dict(os.environ)
    move(apart)
    own = {x: y for x, y in ip.seal["parts"].items() if not x.startswith(LESSONS)}
    publish(number, seal=digest(own))


def move(module):
    """From now on, cells are run in the namespace of a module."""
    ip = shell()
    ip.user_module, ip.user_ns = module, module.__dict__
    sys.modules["__main__"] = module


def seal():
    """What is where: the identity of each function that a verdict rests on."""
    parts = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in SEALED:
            parts[name] = id(module)
            for key, value in list(vars(module).items()):
                if key not in ("_", "input"):  # these IPython sets for each cell
                    note(parts, name, key, value)
    for key, value in list(vars(state.get("course", shell().user_module)).items()):
        if callable(value) or isinstance(value, ModuleType):
            parts[f"{LESSONS}{key}"] = id(value)
    for hook in HOOKS:
        owner = shell()
        for part in hook.split("."):
            owner = getattr(owner, part)
        parts[f"IPython's {hook}"] = tuple(map(id, owner))
    for event, functions in shell().events.callbacks.items():
        parts[f"IPython's event {event}"] = tuple(map(id, functions))
    parts["sys.settrace"], parts["sys.setprofile"] = sys.gettrace(), sys.getprofile()
    return parts


def note(parts, module, key, value):
    name = f"{module}.{key}"
    if callable(value):
        parts[name] = identity(value)
    elif isinstance(value, int | float | str | tuple | frozenset):
        parts[name] = id(value)
    if isinstance(value, type) and value.__module__ == module:
        for key, member in list(vars(value).items()):
            if callable(member) or isinstance(member, property | staticmethod):
                parts[f"{name}.{key}"] = identity(member)


def identity(function):
    code = getattr(function, "__code__", None)
    defaults = getattr(function, "__defaults__", None)
    return id(function), id(code), id(defaults)


def digest(parts):
    return hash(frozenset(parts.items()))


def files():
    """The course's files and all Python files in the working folder, and their text."""
    found = {}
    for name in sorted(os.listdir()):
        if name.endswith(".py") and os.path.isfile(name):
            with open(name, "rb") as file:
                found[name] = file.read()
    return found


# --- after the answer


def arm(number, asked):
    """Hand what was asked for over to the course's namespace; claims are noted."""
    sealed, answers = shell().seal, shell().user_ns
    course = sealed["course"].__dict__
    state["course"] = sealed["course"]
    before, after = sealed["parts"], seal()
    changed = [x for x in before if after.get(x) != before[x]]
    state.update(number=number, asked=asked, before=before)
    state.update(changed=changed, wrote=restore(sealed["files"]))
    os.environ.clear()
    os.environ.update(sealed["environment"])
    move(sealed["course"])
    for name in asked:
        course.pop(name, None)
        if name in answers:
            course[name] = answers[name]
    course[f"_{number}"] = globals()
    listen(course)


def restore(wanted):
    """Write the course's files again; which were changed or added."""
    found = files()
    wrote = [x for x in found | wanted if found.get(x) != wanted.get(x)]
    for name in wrote:
        os.unlink(name) if name in found else None
        if name in wanted:
            with open(name, "wb") as file:
                file.write(wanted[name])
    return wrote


def listen(course):
    """Let `check` note each claim, and `rehearse` each timeline."""
    check = sys.modules["lessons_support.checks"].check
    rehearse = sys.modules["lessons_support.rehearsal"].rehearse

    def noted(holds, claim):
        claims.append([is_true(holds), str(claim)])
        check(holds, claim)

    def seen(*args, **kwargs):
        timelines.append(rehearse(*args, **kwargs))
        return timelines[-1]

    for name, value in list(course.items()):
        if value is check or value is rehearse:
            course[name] = noted if value is check else seen


def is_true(holds):
    numpy = sys.modules.get("numpy")
    kinds = (bool, numpy.bool_) if numpy else (bool,)
    return type(holds) in kinds and bool(holds)


# --- after the check


def report():
    """Publish the claims, and what is suspicious."""
    before, after = state["before"], seal()
    before = {x: y for x, y in before.items() if not x.startswith(LESSONS)}
    changed = {x for x in before if after.get(x) != before[x]} | {*state["changed"]}
    given = [vars(state["course"]).get(x) for x in state["asked"]]
    for timeline in timelines:
        given += [timeline.result, *timeline.printed]
    publish(
        state["number"],
        claims=claims,
        seal=digest({x: after[x] for x in before if x in after}),
        changed=sorted(changed)[:5],
        wrote=state["wrote"],
        liars=sorted(set(liars(given)))[:5],
        noisy=any(x.blocked or x.stopped for x in timelines),
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
        if not generated and isinstance(method, FunctionType) and from_cell(file):
            return True
    return False


def from_cell(file):
    return not os.path.isfile(file) or "ipykernel_" in file


# --- the canary


def again():
    """Once more, without the answer and without a chart: no claim must hold now."""
    claims.clear()
    timelines.clear()
    vars(state["course"])["draw"] = lambda *_, **__: None
