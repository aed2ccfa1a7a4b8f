"""Run one of CPython's asyncio test modules, bare or with every loop recorded.

`python tests/recorded_suite.py recorded test.test_asyncio.test_tasks` prints one line
of JSON: how many tests ran, which failed, how many intervals were recorded, and the
flaws of their timelines.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import sys
import unittest

from invariants import flaws

from lessons_support import record

LIMIT = 240  # seconds; what hangs is ended then, and stderr tells where it was

INTERVALS: list[int] = []
FLAWS: list[str] = []


def record_every_loop() -> None:
    """From now on each loop is recorded for as long as it runs."""
    run_forever = asyncio.BaseEventLoop.run_forever

    def recorded(self: asyncio.BaseEventLoop) -> None:
        with record() as timeline:
            try:
                run_forever(self)
            finally:
                del self  # a traceback's frame keeps no more than without
        INTERVALS.append(sum(len(lane.intervals) for lane in timeline.lanes))
        FLAWS.extend(flaws(timeline))

    asyncio.BaseEventLoop.run_forever = recorded


def main(how: str, module: str) -> None:
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    if how == "recorded":
        record_every_loop()
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName(module)
    except unittest.SkipTest:  # another system's: Windows has modules of its own
        suite = unittest.TestSuite()
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=2).run(suite)
    failed = [str(test) for test, _ in result.errors + result.failures]
    failed += [str(test) for test in result.unexpectedSuccesses]
    told = {"ran": result.testsRun, "failed": failed}
    print(json.dumps({**told, "intervals": sum(INTERVALS), "flaws": FLAWS}))


if __name__ == "__main__":
    main(*sys.argv[1:])
