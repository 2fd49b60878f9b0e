"""The way to the shared store: bounded while it is slow, complete when it ends, and never an error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from app.gateway.cache.database import DatabaseStore
from app.gateway.cache.memory import Kept
from app.gateway.cache.shared import AT_ONCE, MOST_WAITING, UNTENDED, Fresh, SharedAnswers
from app.gateway.cache.store import Room, Store
from app.gateway.wire import Usage
from app.security.secrets import load_or_create
from app.settings import Settings
from models.base import connect
from support.databases import lose

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


@pytest.fixture
def store(settings: Settings) -> Iterator[DatabaseStore]:
    """The store in this test's database."""
    engine = connect(settings.database)
    yield DatabaseStore(engine)
    engine.dispose()


def way(store: Store, settings: Settings) -> SharedAnswers:
    """A worker's way to the store; on a busy machine, too."""
    made = SharedAnswers(store, load_or_create(settings.data))
    made.patience_s = 5.0
    return made


def fresh(key: str, said: bytes = b'{"said": 1}') -> Fresh:
    """An answer that is good for a minute."""
    return Fresh(key, None, 0, said, len(said), Kept({}, Usage(input=3), 7, "openai", 0.0), time.time() + 60)


async def test_what_waits_is_bounded_and_written_at_the_end(store: DatabaseStore, settings: Settings) -> None:
    """A worker that ends takes nothing with it; one whose store is slow does not grow."""
    shared = way(store, settings)
    for number in range(MOST_WAITING + 3):
        shared.put(fresh(str(number)))
    assert shared.dropped == 3
    await shared.stop()
    assert store.held(0)[0] == MOST_WAITING
    found = await shared.get("7", 0)
    assert found is not None
    assert (found[0], found[1].usage.input, found[1].cost_nano) == (b'{"said": 1}', 3, 7)


async def test_who_writes_much_makes_room_soon(store: DatabaseStore, settings: Settings) -> None:
    """Not only twice a minute; and what would fill a sixteenth of the room is not kept at all."""
    shared = way(store, settings)
    shared.room = Room(20, 16_000)
    shared.put(fresh("large", b'"%b"' % (b"x" * 1000)))
    for number in range(2 * AT_ONCE):
        shared.put(fresh(str(number)))
    await shared.stop()
    assert 0 < store.held(0)[0] <= 20 + 20 // UNTENDED
    assert await shared.get("large", 0) is None


async def test_a_store_that_is_away_is_left_alone_for_a_moment(store: DatabaseStore, settings: Settings) -> None:
    """Every look is a miss, and only the first one asks."""
    shared = way(store, settings)
    lose(store._engine)
    assert await asyncio.gather(*(shared.get(key, 0) for key in "abc")) == [None] * 3
    failures = shared.failures
    shared.put(fresh("a"))
    assert await shared.get("a", 0) is None
    assert failures == shared.failures == 1
    assert await shared.held(0) is None
    await shared.stop()
