"""Stores of shared answers: bounded, fresh, and empty when they are told to be."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from app.gateway.cache import redis_store
from app.gateway.cache.database import DatabaseStore
from app.gateway.cache.redis_store import RedisStore
from app.gateway.cache.store import Entry, Room, Store
from app.services.answer_cache import outdate
from app.settings import Settings
from models.base import connect, transaction

REDIS = os.environ.get("YARDMASTER_TEST_REDIS_URL", "")
AMPLE = Room(1000, 10**9)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """This test's database."""
    made = connect(settings.database)
    yield made
    made.dispose()


@pytest.fixture(params=["database", "redis"])
def store(request: pytest.FixtureRequest, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of each kind, of this test alone; Redis needs to be tried beside one database only."""
    if request.param == "database":
        yield DatabaseStore(engine)
        return
    if not REDIS or engine.dialect.name != "sqlite":
        pytest.skip("no Redis is named by YARDMASTER_TEST_REDIS_URL, or tried with SQLite already")
    monkeypatch.setattr(redis_store, "PREFIX", f"yardmaster:answers:test:{uuid4().hex}")
    made = RedisStore(REDIS, engine)
    yield made
    for name in list(made._redis.scan_iter(f"{made._space}*")):
        made._redis.delete(name)


def entry(key: str, sealed: str = "x" * 100, *, left: float = 60.0, epoch: int = 0, user: int | None = 1) -> Entry:
    """An answer that is fresh for so many seconds."""
    return Entry(key, user, epoch, time.time() + left, sealed)


def found(store: Store, epoch: int = 0) -> str:
    """The keys that are there, of those that tests use."""
    return "".join(sorted(store.get(list("abcdefghij"), epoch)))


def test_what_is_stored_is_found_while_it_is_fresh(store: Store) -> None:
    """With the moment it ends: whoever takes it into their memory must know."""
    made = entry("a", "said", left=0.3)
    store.put([made, entry("b", left=60.0)])
    stored = store.get(["a", "c"], 0)
    assert {key: value.sealed for key, value in stored.items()} == {"a": "said"}
    assert stored["a"].expires == pytest.approx(made.expires, abs=0.002)
    time.sleep(0.31)
    assert found(store) == "b"
    assert store.held(0)[0] == 1


def test_a_later_answer_takes_the_place_of_the_earlier(store: Store) -> None:
    """Its bytes too: nothing is counted twice."""
    store.put([entry("a", "old" * 50), entry("a", "new")])
    store.put([entry("a", "newer")])
    assert store.get(["a"], 0)["a"].sealed == "newer"
    assert store.held(0) == (1, 5)


@pytest.mark.parametrize("room", [Room(4, 10**9), Room(1000, 450)], ids=["entries", "bytes"])
def test_what_expires_first_makes_room(store: Store, room: Room) -> None:
    """However it came in: ten of a hundred bytes, and four of them fit."""
    store.put([entry(key, left=60 + ord(key) % 7) for key in "abcdefghij"])
    store.tend(room, 0)
    assert found(store) == "afgh"
    assert store.held(0) == (4, 400)
    store.tend(room, 0)
    assert store.held(0) == (4, 400)


def test_an_epoch_that_is_over_leaves_nothing(store: Store, engine: Engine) -> None:
    """What is cleared cannot be found again, not even by who still thinks it is there."""
    store.put([entry("a"), entry("b")])
    with transaction(engine):
        outdate()
    store.put([entry("c", epoch=1)])
    assert (found(store, 1), store.held(1)[0]) == ("c", 1)
    store.tend(AMPLE, 1)
    assert found(store, 0) == ""
    assert store.clear(1) == 1
    assert (found(store, 1), store.held(1)) == ("", (0, 0))


def test_the_database_keeps_no_answer_of_an_epoch_or_a_user_that_is_gone(engine: Engine) -> None:
    """A call under way when its account was erased, or the cache emptied, ends after that."""
    store = DatabaseStore(engine)
    with transaction(engine):
        outdate()
    store.put(
        [entry("a", user=4711, epoch=1), entry("b", epoch=0), entry("c", epoch=1), entry("d", user=None, epoch=1)]
    )
    assert found(store, 1) == "cd"
