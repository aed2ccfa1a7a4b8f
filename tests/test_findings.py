"""What is found in answers, right and wrong: each mistake by name, and nothing else."""

import asyncio
import time

import pytest
from learners import PAGES, PAUSES, fetch, findings, rehearsed

from lessons_support.recorder import record
from lessons_support.rehearsal import rehearse
from lessons_support.timeline import Blocked, Lane, Story, Timeline


def told(**story):
    return Timeline(lambda: Story(1.0, **story)).findings


# --- `fetch_all(fetch, pages)`: the wrong answers of the lesson on gather

WRONG = {
    "awaits in a comprehension": (
        """
        async def fetch_all(fetch, pages):
            return [await fetch(page) for page in pages]
        """,
        [
            "Three waits came one after another and took 4.5 s, their sum: "
            "(answer.py, line 2). Side by side they take 2.0 s, the longest."
        ],
    ),
    "awaits in a loop": (
        """
        async def fetch_all(fetch, pages):
            texts = []
            for page in pages:
                texts.append(await fetch(page))
            return texts
        """,
        [
            "Three waits came one after another and took 4.5 s, their sum: "
            "(answer.py, line 4). Side by side they take 2.0 s, the longest."
        ],
    ),
    "awaits below each other": (
        """
        async def fetch_all(fetch, pages):
            a, b, c = pages
            one = await fetch(a)
            two = await fetch(b)
            return [one, two, await fetch(c)]
        """,
        [
            "Three waits came one after another and took 4.5 s, their sum. "
            "Side by side they take 2.0 s, the longest."
        ],
    ),
    "awaits in a function of its own": (
        """
        async def fetch_all(fetch, pages):
            async def one(page):
                return await fetch(page)
            return [await one(page) for page in pages]
        """,
        [
            "Three waits came one after another and took 4.5 s, their sum: "
            "(answer.py, line 3). Side by side they take 2.0 s, the longest."
        ],
    ),
    "errors caught one by one": (
        """
        async def report(fetch, pages):
            results = {}
            for page in [*pages, "404"]:
                try:
                    results[page] = await fetch(page)
                except Exception as error:
                    results[page] = f"error: {error}"
            return results
        """,
        [
            "Four waits came one after another and took 5.5 s, their sum: "
            "(answer.py, line 5). Side by side they take 2.0 s, the longest."
        ],
    ),
    "a task each, awaited at once": (
        """
        async def fetch_all(fetch, pages):
            return [await asyncio.create_task(fetch(page)) for page in pages]
        """,
        [
            "You made 3 tasks, but awaited each before making the next: 4.5 s, "
            "their sum: (answer.py, line 2). All made first, they take 2.0 s."
        ],
    ),
    "no await at all": (
        """
        async def fetch_all(fetch, pages):
            return [fetch(page) for page in pages]
        """,
        ["fetch was called 3 times and never awaited."],
    ),
    "a coroutine handed back": (
        """
        async def fetch_one(fetch, pages):
            return fetch(pages[0])
        """,
        [
            "You returned a coroutine of fetch, not its result: await it before "
            "you return."
        ],
    ),
    "called and forgotten": (
        """
        async def fetch_all(fetch, pages):
            fetch(pages[0])
            return ["NEWS"]
        """,
        ["fetch was called and never awaited."],
    ),
    "made once too often": (
        """
        async def fetch_all(fetch, pages):
            unused = [fetch(page) for page in pages]
            return await asyncio.gather(*[fetch(page) for page in pages])
        """,
        ["3 of 6 calls of fetch were never awaited."],
    ),
    "made together, and awaited one by one at another line": (
        """
        async def fetch_all(fetch, pages):
            coroutines = [fetch(page) for page in pages[:2]]
            return [await coroutine for coroutine in coroutines]
        """,
        [
            "Two waits came one after another and took 3.0 s, their sum. "
            "Side by side they take 2.0 s, the longest."
        ],
    ),
    "the promise handed back": (
        """
        async def fetch_all(fetch, pages):
            return asyncio.gather(*[fetch(page) for page in pages])
        """,
        ["You returned a Future, not its result. Await it before you return."],
    ),
    "a task handed back": (
        """
        async def fetch_all(fetch, pages):
            return asyncio.create_task(fetch(pages[0]))
        """,
        ["You returned a task, not its result. Await it before you return."],
    ),
    "a task and a promise handed back": (
        """
        async def fetch_all(fetch, pages):
            return asyncio.create_task(fetch(pages[0])), asyncio.gather(fetch(pages[1]))
        """,
        ["You returned 2 Futures, not results: await each before you return."],
    ),
    "tasks handed back": (
        """
        async def fetch_all(fetch, pages):
            return [asyncio.create_task(fetch(page)) for page in pages]
        """,
        ["You returned 3 tasks, not results: await each before you return."],
    ),
    "a list without the star": (
        """
        async def fetch_all(fetch, pages):
            return await asyncio.gather([fetch(page) for page in pages])
        """,
        [
            "gather takes awaitables one by one, but got a list. Unpack it with *: "
            "(answer.py, line 2)."
        ],
    ),
    "a loop inside the loop": (
        """
        async def fetch_all(fetch, pages):
            async def together():
                return await asyncio.gather(*[fetch(page) for page in pages])
            return asyncio.run(together())
        """,
        [
            "There is an event loop already, and your function runs on it. Use "
            "await: (answer.py, line 4)."
        ],
    ),
    "the loop asked to run once more": (
        """
        async def fetch_all(fetch, pages):
            loop = asyncio.get_running_loop()
            return loop.run_until_complete(fetch(pages[0]))
        """,
        [
            "There is an event loop already, and your function runs on it. Use "
            "await: (answer.py, line 3)."
        ],
    ),
    "plain def": (
        """
        def fetch_all(fetch, pages):
            return [page.upper() for page in pages]
        """,
        ["fetch_all cannot be awaited: make it async def."],
    ),
    "awaits what is no awaitable": (
        """
        async def fetch_all(fetch, pages):
            def one(page):
                return page
            return [await one(page) for page in pages]
        """,
        [
            "You await a value of type str. Only what the call of an async def gives, "
            "a task or a Future can be awaited: (answer.py, line 4)."
        ],
    ),
    "awaits a function": (
        """
        async def fetch_all(fetch, pages):
            await fetch
        """,
        [
            "You await a function that was not called. Call it, and await what that "
            "gives: (answer.py, line 2)."
        ],
    ),
    "awaits None": (
        """
        async def fetch_all(fetch, pages):
            await time.sleep(0)
        """,
        [
            "You await None. What you called is not an async def, or was awaited "
            "already: (answer.py, line 2)."
        ],
    ),
    "gathers what is no awaitable": (
        """
        async def fetch_all(fetch, pages):
            return await asyncio.gather(*pages)
        """,
        [
            "gather takes what the call of an async def gives, not a function that "
            "was not called, nor a result that was awaited already: "
            "(answer.py, line 2)."
        ],
    ),
    "takes the first of what is no awaitable": (
        """
        async def fetch_all(fetch, pages):
            return await next(asyncio.as_completed([fetch]))
        """,
        [
            "as_completed takes what the call of an async def gives, not a function "
            "that was not called, nor a result that was awaited already: "
            "(answer.py, line 2)."
        ],
    ),
    "has a list for a key": (
        """
        async def fetch_all(fetch, pages):
            return {pages: await fetch(pages[0])}
        """,
        [
            "fetch_all failed after 2.0 s with TypeError: unhashable type: 'list', "
            "at (answer.py, line 2)."
        ],
    ),
    "fails in words of asyncio": (
        """
        async def fetch_all(fetch, pages):
            raise RuntimeError("the washing loop is already running")
        """,
        [
            "fetch_all failed with RuntimeError: the washing loop is already running, "
            "at (answer.py, line 2)."
        ],
    ),
    "yields": (
        """
        async def fetch_all(fetch, pages):
            for page in pages:
                yield await fetch(page)
        """,
        [
            "fetch_all has a yield, so it is an asynchronous generator, which cannot "
            "be awaited: put what it gives into a list, and return that."
        ],
    ),
    "waits for ever": (
        """
        async def fetch_all(fetch, pages):
            await asyncio.Event().wait()
            return await asyncio.gather(*[fetch(page) for page in pages])
        """,
        [
            "fetch_all would wait for Event.wait for ever, and nobody will wake it: "
            "(answer.py, line 2)."
        ],
    ),
    "two wait for ever": (
        """
        async def fetch_all(fetch, pages):
            queue = asyncio.Queue()
            async def worker():
                await queue.get()
            await asyncio.gather(worker(), worker())
        """,
        [
            "worker, worker (2) would wait for Queue.get for ever, and nobody will "
            "wake them: (answer.py, line 4)."
        ],
    ),
    "goes on for ever": (
        """
        async def fetch_all(fetch, pages):
            while True:
                await asyncio.sleep(0)
        """,
        [
            "Stopped after 100,000 turns of the loop. fetch_all was still awaiting: "
            "(answer.py, line 3)."
        ],
    ),
    "fails": (
        """
        async def fetch_all(fetch, pages):
            await fetch(pages[0])
            return pages[3]
        """,
        [
            "fetch_all failed after 2.0 s with IndexError: list index out of range, "
            "at (answer.py, line 3)."
        ],
    ),
    "lets an error pass": (
        """
        async def fetch_all(fetch, pages):
            return await asyncio.gather(fetch("404"), fetch(pages[0]))
        """,
        [
            "fetch_all failed after 1.0 s with ValueError: no 404, "
            "at (answer.py, line 2)."
        ],
    ),
    "leaves the others running": (
        """
        async def fetch_all(fetch, pages):
            try:
                return await asyncio.gather(fetch("404"), fetch("news"), fetch("map"))
            except ValueError:
                return []
        """,
        ["2 tasks were still not done at the end: fetch (2), fetch (3)."],
    ),
    "never looks at an error": (
        """
        async def fetch_all(fetch, pages):
            task = asyncio.create_task(fetch("404"))
            return await fetch(pages[0])
        """,
        ["fetch failed with ValueError, and nobody looked at it."],
    ),
}


@pytest.mark.parametrize(("code", "sentences"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_named_and_nothing_else(code, sentences):
    assert findings(code, limit=60.0) == sentences


def test_wrong_answers_are_told_apart():
    sentences = [sentence for _, [sentence] in WRONG.values()]
    assert len(set(sentences)) == len(sentences)


def test_a_blocked_loop_is_told_once_for_each_line():
    [sentence] = findings("""
        async def fetch_all(fetch, pages):
            async def work(page):
                time.sleep(0.1)
                return page.upper()
            return await asyncio.gather(*[work(page) for page in pages])
    """)
    assert sentence.startswith("Nobody else could run for 0.3 s in all, 3 times: work")


def test_a_right_answer_with_a_stray_pause_has_that_finding_only():
    [sentence] = rehearsed("""
        async def fetch_all(fetch, pages):
            time.sleep(0.2)
            return await asyncio.gather(*[fetch(page) for page in pages])
    """).findings
    assert sentence == (
        "Nobody else could run for 0.2 s: fetch_all, "
        "time.sleep(0.2) (answer.py, line 2)."
    )


def test_a_long_message_of_an_exception_is_cut_short():
    [sentence] = rehearsed("""
        async def fetch_all(fetch, pages):
            raise ValueError("a long story " * 100)
    """).findings
    assert "ValueError: a long story a long" in sentence
    assert len(sentence) < 350


@pytest.mark.parametrize(
    ("value", "what"), [(None, "None"), (3, "a value of type int")]
)
def test_a_name_that_holds_no_function_is_told(value, what):
    [sentence] = rehearse(value).findings
    assert sentence == f"The name holds {what}; expected a function."


def test_what_computes_for_ever_is_told_with_its_line():
    [sentence] = rehearsed(
        """
        async def fetch_all(fetch, pages):
            while True:
                pages = list(pages)
        """,
        limit=0.3,
    ).findings
    assert sentence.startswith("Stopped after 0.3 s. fetch_all was still computing: ")


# --- programs in which waiting one after another is right, or not all the mistake

RIGHT = {
    "gather": "return await asyncio.gather(*[fetch(x) for x in pages])",
    "one page": "return [await fetch(pages[0])]",
    "no page": "return []",
    "nothing": "...",
    "a task group": """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch(x)) for x in pages]
        return [x.result() for x in tasks]
    """,
    "begun early, awaited late": """
        tasks = [asyncio.create_task(fetch(x)) for x in pages]
        return [await x for x in tasks]
    """,
    "as they come": """
        return [await x for x in asyncio.as_completed([fetch(x) for x in pages])]
    """,
    "wait": """
        done, _ = await asyncio.wait([asyncio.create_task(fetch(x)) for x in pages])
        return [x.result() for x in done]
    """,
    "one first, then two together": """
        one = await fetch(pages[0])
        return [one, *await asyncio.gather(fetch(pages[1]), fetch(pages[2]))]
    """,
    "a semaphore of one": """
        room = asyncio.Semaphore(1)
        async def one(page):
            async with room:
                return await fetch(page)
        return await asyncio.gather(*[one(x) for x in pages])
    """,
    "a semaphore of two": """
        room = asyncio.Semaphore(2)
        async def one(page):
            async with room:
                return await fetch(page)
        return await asyncio.gather(*[one(x) for x in pages])
    """,
    "groups of two": """
        texts = await asyncio.gather(*[fetch(x) for x in pages[:2]])
        return texts + await asyncio.gather(*[fetch(x) for x in pages[2:]])
    """,
    "workers and a queue": """
        queue, texts = asyncio.Queue(), {}
        async def worker():
            while True:
                page = await queue.get()
                texts[page] = await fetch(page)
                queue.task_done()
        workers = [asyncio.create_task(worker()) for _ in range(2)]
        for page in pages:
            queue.put_nowait(page)
        await queue.join()
        for x in workers:
            x.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return [texts[x] for x in pages]
    """,
    "a producer and a consumer": """
        queue, texts = asyncio.Queue(), []
        async def produce():
            for page in pages:
                await queue.put(await fetch(page))
        async def consume():
            for _ in pages:
                texts.append(await queue.get())
        await asyncio.gather(produce(), consume())
        return texts
    """,
    "a pause between two": """
        texts = []
        for page in pages:
            texts.append(await fetch(page))
            await asyncio.sleep(0.5)
        return texts
    """,
    "a retry": """
        for page in ["404", pages[0]]:
            try:
                return await fetch(page)
            except ValueError:
                pass
    """,
    "a retry with back-off": """
        for attempt in range(3):
            try:
                return await fetch("404")
            except ValueError:
                await asyncio.sleep(2 ** attempt)
        return "none"
    """,
    "a retry at once": """
        try:
            return await fetch("404")
        except ValueError:
            pass
        try:
            return await fetch("404")
        except ValueError as error:
            return str(error)
    """,
    "the first that is there": """
        found = []
        for page in pages:
            text = await fetch(page)
            found.append(text)
            if text == "MAP":
                break
        return found
    """,
    "the second only if the first": """
        one = await fetch(pages[0])
        return [one, await fetch(pages[1]) if one else None]
    """,
    "a question that holds an answer": """
        one = await fetch(pages[0])
        two = await fetch(one.lower() and "mail")
        return [one, two]
    """,
    "a timeout": """
        try:
            async with asyncio.timeout(1.2):
                return await fetch(pages[0])
        except TimeoutError:
            return await fetch(pages[1])
    """,
    "one is cancelled": """
        task = asyncio.create_task(fetch(pages[0]))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])
        return await fetch(pages[1])
    """,
    "sleeps twice": """
        print("begin")
        await asyncio.sleep(1)
        print("in between")
        await asyncio.sleep(1)
        print("end")
    """,
    "two functions of its own in a row": """
        async def one():
            await asyncio.sleep(2)
        async def two():
            await asyncio.sleep(1)
        await one()
        await two()
    """,
    "an answer nobody keeps": """
        for page in pages:
            await fetch(page)
    """,
    "two at once, each twice": """
        async def twice(a, b):
            return [await fetch(a), await fetch(b)]
        return await asyncio.gather(twice(*pages[:2]), twice(pages[2], pages[0]))
    """,
    "something else meanwhile": """
        beat = asyncio.create_task(asyncio.sleep(9))
        texts = [await fetch(x) for x in pages]
        beat.cancel()
        await asyncio.wait([beat])
        return texts
    """,
    "an asynchronous generator": """
        async def texts():
            for page in pages:
                yield await fetch(page)
        found = []
        async for text in texts():
            found.append(text)
            if len(found) == 2:
                break
        return found
    """,
    "a thread": "return await asyncio.to_thread(len, pages)",
}


@pytest.mark.parametrize("body", RIGHT.values(), ids=RIGHT)
def test_nothing_is_found_in_a_right_program(body):
    lines = body.strip("\n").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    code = "\n    ".join(["async def f(fetch, pages):", *(x[margin:] for x in lines)])
    assert rehearsed(code).findings == ()


# --- several functions: who needs whom


async def get_user():
    await asyncio.sleep(1)
    return {"id": 7, "name": "Ann"}


async def get_orders(user):
    await asyncio.sleep(2)
    return [f"order {n} of {user}" for n in range(3)]


async def get_prefs(user):
    await asyncio.sleep(1)
    return f"prefs of {user}"


async def connect():
    await asyncio.sleep(1)


async def close():
    await asyncio.sleep(1)


async def send(coins):
    await asyncio.sleep(1)
    return True


async def receive(coins):
    await asyncio.sleep(1)
    return True


THREE = (get_user, get_orders, get_prefs)


def test_two_steps_that_both_succeed_may_need_their_turn():
    async def transfer(send, receive):
        await send(5)
        await receive(5)
        return True

    async def both(send, receive):
        return [await send(5), await receive(5)]

    assert rehearse(transfer, send, receive).findings == ()
    assert "one after another" in rehearse(both, send, receive).findings[0]


def test_a_chain_in_which_something_is_passed_on_is_right():
    assert not findings(
        """
        async def page(get_user, get_orders, get_prefs):
            user = await get_user()
            orders = await get_orders(user["id"])
            return [user, orders, await get_prefs(orders[0])]
        """,
        *THREE,
    )


def test_a_value_computed_from_an_answer_counts_as_passed_on():
    assert not findings(
        """
        async def page(get_user, get_orders, get_prefs):
            user = await get_user()
            return [user, await get_prefs(user["name"].upper())]
        """,
        *THREE,
    )


def test_a_diamond_in_a_row_is_found_with_what_it_takes_at_best():
    assert findings(
        """
        async def page(get_user, get_orders, get_prefs):
            user = await get_user()
            orders = await get_orders(user["id"])
            prefs = await get_prefs(user["id"])
            return user, orders, prefs
        """,
        *THREE,
    ) == [
        "Three waits came one after another and took 4.0 s, their sum. "
        "At best they take 3.0 s: not each needs the one before it."
    ]


def test_tasks_that_are_awaited_at_once_after_another_wait_are_counted():
    [sentence] = findings(
        """
        async def page(get_user, get_orders, get_prefs):
            user = await get_user()
            orders = await asyncio.create_task(get_orders(user["id"]))
            prefs = await asyncio.create_task(get_prefs(user["id"]))
            return user, orders, prefs
        """,
        *THREE,
    )
    assert "took 4.0 s, their sum, in spite of 2 tasks. At best" in sentence


def test_a_diamond_with_its_sides_together_is_right():
    assert not findings(
        """
        async def page(get_user, get_orders, get_prefs):
            user = await get_user()
            orders = asyncio.create_task(get_orders(user["id"]))
            prefs = await get_prefs(user["id"])
            return user, await orders, prefs
        """,
        *THREE,
    )


def test_steps_that_give_nothing_back_have_an_order_of_their_own():
    assert not findings(
        """
        async def session(connect, fetch, close):
            await connect()
            text = await fetch("news")
            await close()
            return text
        """,
        connect,
        fetch,
        close,
    )


def test_an_async_method_is_watched_too():
    class Client:
        async def get(self, page):
            return await fetch(page)

    [sentence] = findings(
        """
        async def fetch_all(get, pages):
            return [await get(page) for page in pages]
        """,
        Client().get,
        PAGES,
    )
    assert sentence.startswith("Three waits came one after another and took 4.5 s")


def test_arguments_and_results_that_cannot_be_compared_do_no_harm():
    class Touchy:
        def __eq__(self, other):
            raise RuntimeError("do not compare me")

        __hash__ = None

        def __getattr__(self, name):
            raise RuntimeError("do not look at me")

    async def ask(thing):
        await asyncio.sleep(1)
        return Touchy()

    trial = rehearsed(
        """
        async def both(ask, things):
            return [await ask(thing) for thing in things]
        """,
        ask,
        [Touchy(), Touchy()],
    )
    assert len(trial.result) == 2
    assert len(trial.findings) <= 1


def test_calls_are_told_with_their_times():
    calls = rehearsed("""
        async def fetch_all(fetch, pages):
            return [await fetch(page) for page in pages]
    """).calls
    assert [(x.name, x.lane, x.start, x.end) for x in calls] == [
        ("fetch", "fetch_all", 0.0, 2.0),
        ("fetch", "fetch_all", 2.0, 3.0),
        ("fetch", "fetch_all", 3.0, 4.5),
    ]
    assert sum(PAUSES.values()) == 4.5


# --- timelines of recordings


def test_a_recording_of_waits_in_a_row_says_nothing():
    async def cell():
        with record() as timeline:
            await asyncio.sleep(0.01)
            await asyncio.create_task(asyncio.sleep(0.01))
        return timeline

    assert asyncio.run(cell()).findings == ()


def test_a_recording_tells_who_blocked_and_where():
    async def cell():
        with record() as timeline:
            time.sleep(0.1)
        return timeline

    [sentence] = asyncio.run(cell()).findings
    assert sentence.startswith(
        "Nobody else could run for 0.1 s: cell, time.sleep(0.1) ("
    )


def test_steps_that_block_at_different_lines_are_told_apart():
    steps = (
        Blocked("soup", 0.0, 0.3, "stir()"),
        Blocked("egg", 0.3, 0.5, "peel()"),
        Blocked("", 0.5, 0.6, ""),
    )
    assert told(blocked=steps) == (
        "Nobody else could run for 0.3 s: soup, stir().",
        "Nobody else could run for 0.2 s: egg, peel().",
        "Nobody else could run for 0.1 s: a callback.",
    )


def test_a_short_step_is_told_only_with_a_line_to_look_at():
    steps = Blocked("soup", 0.0, 0.06, ""), Blocked("egg", 0.1, 0.16, "peel()")
    assert told(blocked=steps) == (
        "Nobody else could run for under 0.1 s: egg, peel().",
    )


def test_many_culprits_are_counted():
    steps = tuple(Blocked(f"pan-{n}", n, n + 0.1, "stir()") for n in range(5))
    assert told(blocked=steps) == (
        "Nobody else could run for 0.5 s in all, 5 times: "
        "pan-0, pan-1, pan-2 and 2 more, stir().",
    )


def test_one_task_left_over_is_named():
    lane = Lane("soup", None, 0.0, 1.0, "pending", ())
    assert told(lanes=(lane,)) == ("soup was still not done at the end.",)


# --- callbacks


async def rings(ring):
    asyncio.get_running_loop().call_later(0.5, ring)
    ticket = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(1.0, ticket.set_result, "soup")
    return await ticket


async def waits_for_a_bell_that_breaks():
    ticket = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.5, ticket.set_result)
    return await ticket


def breaks():
    raise ValueError("no soup")


def test_a_callback_that_fails_is_told():
    rehearsal = rehearse(rings, lambda: breaks())
    assert rehearsal.result == "soup"
    [told] = rehearsal.findings
    assert told.startswith(
        "A callback failed with ValueError: no soup, "
        'at raise ValueError("no soup") (test_findings.py, line '
    )
    assert told.endswith("Nobody awaits a callback, so nobody was told.")


def test_a_callback_that_fails_is_why_nobody_was_woken():
    [told] = rehearse(waits_for_a_bell_that_breaks).findings
    assert told.startswith("A callback failed with TypeError: ")


def test_callbacks_that_keep_failing_are_told_once():
    async def keeps_ringing():
        for _ in range(100):
            asyncio.get_running_loop().call_soon(breaks)
            await asyncio.sleep(0.1)

    rehearsal = rehearse(keeps_ringing)
    assert len(rehearsal.findings) == 1
    assert len(rehearsal.callback_errors) < 10
