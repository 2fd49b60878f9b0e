"""Hits taken ahead of a shared count: few questions to the store, never a hit too many."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.ahead import SHARE, Ahead


class Store:
    """A count that several workers share, which takes its time."""

    def __init__(self, window_s: float = 60.0) -> None:
        self.window_s = window_s
        self.hits: Counter[str] = Counter()
        self.ends: dict[str, float] = {}
        self.asked = 0
        self._lock = threading.Lock()

    def count(self, key: str, _expiry: int, amount: int) -> tuple[int, float]:
        """As `DatabaseStorage.count`."""
        time.sleep(random.random() / 2_000)  # noqa: S311 (jitter)
        with self._lock:
            self.asked += 1
            if time.time() >= self.ends.get(key, 0):
                self.hits[key], self.ends[key] = 0, time.time() + self.window_s
            self.hits[key] += amount
            return self.hits[key], self.ends[key]

    def look(self, key: str) -> tuple[int, float]:
        """As `Limits._look`."""
        self.asked += 1
        return self.hits[key], self.ends.get(key, time.time())


def worker(store: Store) -> Ahead:
    """One of those that share the store."""
    return Ahead(store.count, store.look)


async def admitted(ahead: Ahead, limit: int, calls: int, key: str = "k") -> int:
    """How many of so many simultaneous calls are within the limit."""
    counted = await asyncio.gather(*(ahead.count(key, 60, limit) for _ in range(calls)))
    return sum(hits <= limit for hits, _ in counted)


@given(
    limit=st.integers(1, 400),
    bursts=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60)), max_size=30),
)
def test_no_number_of_workers_admits_more_than_the_limit(limit: int, bursts: list[tuple[int, int]]) -> None:
    """And they refuse nobody while more of it is left than two others may hold."""

    async def run() -> tuple[int, int]:
        store = Store()
        workers = [worker(store) for _ in range(3)]
        passed = await asyncio.gather(*(admitted(workers[turn], limit, calls) for turn, calls in bursts))
        return sum(passed), sum(calls for _, calls in bursts)

    passed, asked = asyncio.run(run())
    assert min(asked, limit - 2 * (limit // SHARE)) <= passed <= limit


async def test_a_key_that_is_hit_often_is_seldom_asked_about() -> None:
    """Ten thousand calls, one after the other."""
    store = Store()
    ahead = worker(store)
    for _ in range(10_000):
        await ahead.count("k", 60, 1_000_000)
    assert store.asked < 30


async def test_a_key_that_is_hit_once_takes_nothing_ahead() -> None:
    """Others have the whole rest of the limit."""
    store = Store()
    await worker(store).count("k", 60, 1_000_000)
    assert store.hits["k"] == 1


async def test_calls_at_once_wait_for_one_question() -> None:
    """All that wait are counted together, in order."""
    store = Store()
    ahead = worker(store)
    counted = await asyncio.gather(*(ahead.count("k", 60, 1_000) for _ in range(64)))
    assert sorted(hits for hits, _ in counted) == list(range(1, 65))
    assert store.asked <= 3


async def test_a_spent_limit_is_not_asked_about_again() -> None:
    """A flood of refused calls costs the database nothing, until the window ends."""
    store = Store(window_s=0.3)
    ahead = worker(store)
    assert await admitted(ahead, 5, 50) == 5
    asked = store.asked
    assert await admitted(ahead, 5, 50) == 0
    assert store.asked == asked
    await asyncio.sleep(0.35)
    assert await admitted(ahead, 5, 3) == 3


async def test_looking_counts_nothing_and_is_believed_for_a_second() -> None:
    """Callers of what is not counted are told what is left, not at the price of a question each."""
    store = Store()
    ahead = worker(store)
    assert (await ahead.look("k"))[0] == 0
    assert (await ahead.look("k"))[0] == 0
    assert store.asked == 1
    await admitted(ahead, 1_000, 7)
    assert (await ahead.look("k"))[0] == 7
    assert store.hits["k"] >= 7


async def test_a_store_that_fails_fails_every_call_that_waits() -> None:
    """And the next call asks again."""
    store = Store()
    ahead = Ahead(_broken, store.look)
    answers = await asyncio.gather(*(ahead.count("k", 60, 9) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [OSError] * 3
    ahead._count = store.count
    assert (await ahead.count("k", 60, 9))[0] == 1


def _broken(_key: str, _expiry: int, _amount: int) -> tuple[int, float]:
    raise OSError


@pytest.mark.parametrize("limit", [1, 2, 7, 49])
async def test_a_small_limit_is_counted_hit_by_hit(limit: int) -> None:
    """Two workers by turns admit exactly as many as it says."""
    store = Store()
    one, other = worker(store), worker(store)
    passed = 0
    for turn in range(2 * limit):
        passed += await admitted(one if turn % 2 else other, limit, 1)
    assert passed == limit
