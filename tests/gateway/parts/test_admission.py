"""Pools and places by themselves: what holds for every order of events."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.admission.places import Places
from app.gateway.admission.pool import CHOICES, Pool
from app.gateway.failures import FailureError
from app.gateway.modules.catalogue import complete_config

KEYS = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@given(KEYS, st.sampled_from(sorted(CHOICES)), st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=30))
def test_a_key_that_rests_is_never_taken(weights: list[int], strategy: str, events: list[tuple[bool, int]]) -> None:
    """Whatever the strategy and the order of refusals; and one that is free always is found."""
    moment = [0.0]
    pool = Pool("openai", lambda: moment[0])
    pool.configure([(str(n), f"sk-{n}", weight) for n, weight in enumerate(weights)], strategy, 10.0)
    for fails, passes in events:
        free = [key for key in pool.keys if key.rests_until <= moment[0]]
        key = pool.take()
        assert (key in free) if free else key is None
        if key is not None:
            pool.leave(key)
            if fails:
                pool.rest(key, 429, None)
        moment[0] += passes
    assert all(key.under_way == 0 for key in pool.keys)


@given(KEYS)
def test_turns_are_shares(weights: list[int]) -> None:
    """Over one round each key is taken exactly as often as its weight says."""
    pool = Pool("openai")
    pool.configure([(str(n), f"sk-{n}", weight) for n, weight in enumerate(weights)], "round-robin", 10.0)
    taken = Counter(key.name for _ in range(sum(weights)) if (key := pool.take()))
    assert taken == {str(n): weight for n, weight in enumerate(weights)}


def places(at_once: int, waiting: int = 100, wait: float = 5.0) -> Places:
    """Places at nobody's; a project named like a class is of that class."""
    classes = [{"project": name, "class": name} for name in ("high", "normal", "low")]
    made = Places("openai")
    made.configure(at_once, complete_config("queuepriority", {"max_waiting": waiting, "classes": classes}), wait)
    return made


def test_urgent_callers_go_first() -> None:
    """In their class, whoever came first."""

    async def order() -> list[str]:
        line, served = places(1), []

        async def call(name: str) -> None:
            await line.enter(name.rstrip("12"))
            served.append(name)
            line.leave()

        await line.enter("normal")
        calls = [asyncio.create_task(call(name)) for name in ("low", "normal1", "high1", "normal2", "high2")]
        await asyncio.sleep(0)
        line.leave()
        await asyncio.gather(*calls)
        return served

    assert asyncio.run(order()) == ["high1", "high2", "normal1", "normal2", "low"]


STEPS = st.lists(st.tuples(st.sampled_from(["enter", "leave", "cancel", "turn"]), st.integers(0, 9)), max_size=40)


@settings(max_examples=60)
@given(st.integers(1, 3), STEPS)
def test_places_are_neither_lost_nor_made(most: int, steps: list[tuple[str, int]]) -> None:
    """Whatever the order in which calls come, go and give up: never too many inside, and nobody waits beside one."""

    async def play() -> None:
        line = places(most, waiting=5)
        calls: list[tuple[asyncio.Task[None], asyncio.Event]] = []

        async def call(done: asyncio.Event) -> None:
            await line.enter("low")
            try:
                await done.wait()
            finally:
                line.leave()

        for act, which in steps:
            if act == "enter":
                done = asyncio.Event()
                calls.append((asyncio.create_task(call(done)), done))
            elif act == "turn":
                await asyncio.sleep(0)
            elif calls:
                task, done = calls[which % len(calls)]
                done.set() if act == "leave" else task.cancel()
            assert 0 <= line.under_way <= most
            assert 0 <= line.waiting <= 5
        for _, done in calls:
            done.set()
        outcomes = await asyncio.gather(*(task for task, _ in calls), return_exceptions=True)
        assert all(o is None or isinstance(o, FailureError | asyncio.CancelledError) for o in outcomes)
        assert (line.under_way, line.waiting, line._line) == (0, 0, [])

    asyncio.run(play())
