"""Answers as a learner would write them, and what a rehearsal says of them."""

import asyncio
import linecache
import sys
import time
from textwrap import dedent

from lessons_support.rehearsal import rehearse

PAUSES = {"news": 2.0, "mail": 1.0, "map": 1.5}
PAGES = list(PAUSES)
FILE = "answer.py"


async def fetch(page):
    """A page takes a while; one that does not exist fails after a second."""
    await asyncio.sleep(PAUSES.get(page, 1.0))
    if page not in PAUSES:
        raise ValueError(f"no {page}")
    return page.upper()


def answer(code):
    """The last function of an answer, with its source where tracebacks look for it."""
    code = dedent(code).lstrip()
    linecache.cache[FILE] = (len(code), None, code.splitlines(True), FILE)
    names = {"asyncio": asyncio, "time": time, "sys": sys}
    exec(compile(code, FILE, "exec"), names)
    return list(names.values())[-1]


def rehearsed(code, *args, limit=2.0):
    """The rehearsal of an answer that gets ``fetch`` and three pages, or ``args``."""
    return rehearse(answer(code), *(args or (fetch, PAGES)), limit=limit)


def findings(code, *args, limit=2.0):
    """What is found in an answer, without the code that stands at the line."""
    found = rehearsed(code, *args, limit=limit).findings
    for line in filter(str.strip, code.splitlines()):
        found = [x.replace(f"{line.strip()} ({FILE}", f"({FILE}") for x in found]
    return found
