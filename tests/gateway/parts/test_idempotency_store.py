"""The store of idempotency keys, on every database: one of many gets a key, and nothing locks it for ever."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from app.gateway.idempotency.store import KEPT, LEASE, ROW_BYTES, Named, Store
from app.settings import Settings
from models.base import connect, transaction
from models.idempotency import IdempotentCall
from models.identity import User
from support.together import at_once

BEGAN = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """The test's database."""
    opened = connect(settings.database)
    yield opened
    opened.dispose()


def named(letter: str = "a", payload: str = "f") -> Named:
    """A call under a key."""
    return Named(letter * 64, payload * 64, None)


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.moment = BEGAN

    def __call__(self) -> datetime:
        """Now."""
        return self.moment


def ids(engine: Engine) -> str:
    """Whose rows there are, by their first letters."""
    with transaction(engine, write=False) as session:
        return "".join(sorted(row.id[0] for row in session.scalars(select(IdempotentCall))))


def test_of_many_at_the_same_time_one_gets_the_key(engine: Engine) -> None:
    """A free key, and one that lapsed: two runs of one call would be paid for twice."""
    clock = Clock()
    stores = [Store(engine, clock) for _ in range(8)]
    for _ in range(3):
        held = at_once(*[lambda s=store, n=n: s.claim(named(), f"run {n}") for n, store in enumerate(stores)])
        assert [answer for answer in held if answer is None] == [None]
        assert {(h.fingerprint, h.began_at, h.sealed_answer) for h in held if h} == {("f" * 64, clock.moment, None)}
        clock.moment += LEASE


def test_a_run_that_died_frees_its_key(engine: Engine) -> None:
    """After a minute, and not before; what it says from its grave is not heard."""
    clock = Clock()
    store = Store(engine, clock)
    assert store.claim(named(), "dead") is None
    clock.moment += LEASE - SECOND
    assert store.claim(named(), "early") is not None
    clock.moment += SECOND
    assert store.claim(named(payload="e"), "next") is None
    store.keep(named().id, "dead", b"too late")
    store.release(named().id, "dead")
    held = store.claim(named(), "another")
    assert held is not None
    assert (held.fingerprint, held.sealed_answer) == ("e" * 64, None)


def test_a_long_run_keeps_its_key(engine: Engine) -> None:
    """A stream of ten minutes is not a dead worker's; only its own run renews it."""
    clock = Clock()
    store = Store(engine, clock)
    store.claim(named("a"), "slow")
    store.claim(named("b"), "dead")
    for _ in range(4):
        clock.moment += LEASE / 2
        store.renew({named("a").id: "slow", named("b").id: "somebody else", named("c").id: "unknown"})
    assert store.claim(named("a"), "impatient") is not None
    assert store.claim(named("b"), "next") is None


def test_an_answer_is_kept_for_a_day(engine: Engine) -> None:
    """Neither renewed nor let go by whoever comes late; then the key is free, for another payload too."""
    clock = Clock()
    store = Store(engine, clock)
    store.claim(named(), "run")
    store.keep(named().id, "run", b"sealed")
    store.renew({named().id: "run"})
    store.release(named().id, "run")
    clock.moment += KEPT - SECOND
    held = store.claim(named(payload="e"), "again")
    assert held is not None
    assert (held.fingerprint, held.sealed_answer) == ("f" * 64, b"sealed")
    clock.moment += SECOND
    assert store.claim(named(payload="e"), "again") is None


def test_what_is_too_much_goes_oldest_first(engine: Engine) -> None:
    """Kept answers are bounded in bytes; calls under way lose nothing by it, and what expired goes anyway."""
    clock = Clock()
    store = Store(engine, clock)
    for letter in "abc":
        store.claim(named(letter), "run")
        store.keep(named(letter).id, "run", b"x" * 1000)
        clock.moment += timedelta(hours=1)
    store.claim(named("r"), "running")
    assert store.sweep(clock.moment, most=10_000) == 0
    assert store.sweep(clock.moment, most=2 * (1000 + ROW_BYTES)) == 1
    assert ids(engine) == "bcr"
    assert store.sweep(clock.moment + LEASE, most=10_000) == 1
    assert ids(engine) == "bc"
    assert store.sweep(BEGAN + KEPT + timedelta(hours=9), batch=1) == 1
    assert store.sweep(BEGAN + KEPT + timedelta(hours=9), batch=5) == 1
    assert ids(engine) == ""


def test_no_account_drives_out_what_others_keep(engine: Engine) -> None:
    """The one that has too much loses its own oldest, however old the others' are."""
    clock = Clock()
    store = Store(engine, clock)
    with transaction(engine, write=False) as session:
        user = session.scalar(select(User.id))
    for letter, owner in (("a", None), ("b", user), ("c", user), ("d", user)):
        name = Named(letter * 64, "f" * 64, owner)
        store.claim(name, "run")
        store.keep(name.id, "run", b"x" * 1000)
        clock.moment += timedelta(hours=1)
    assert store.sweep(clock.moment, each=2 * (1000 + ROW_BYTES)) == 1
    assert ids(engine) == "acd"
