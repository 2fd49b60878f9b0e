"""The stores of reservations: whatever happens in whatever order, no counter goes over its cap and no money is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine, delete, select, update

from app.gateway.caps import database, redis_store
from app.gateway.caps.database import DatabaseStore
from app.gateway.caps.redis_store import RedisStore
from app.gateway.caps.store import Limit, Reserve, Settle, Store, StoreError
from app.services.rollups import store as record
from app.services.spending.counters import COUNTERS, HOLDS, Key, read
from app.services.spending.periods import days, kind, periods, resets_at
from app.services.trace_record import TraceRecord, trace_id
from app.settings import Settings
from models.base import connect, micros, now, transaction
from models.traces import SpendRollup, Trace
from support.together import at_once

REDIS = os.environ.get("YARDMASTER_TEST_REDIS_URL", "")
# In the middle of the present month, so that neither it nor the day before is swept away.
NOON = micros(now().replace(day=15, hour=12, minute=0, second=0, microsecond=0))
DAY, MONTH = periods(NOON)
KEYS = (Key(DAY, "project", "default"), Key(MONTH, "project", "default"), Key(DAY, "user", "7"))
CAP = 100


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """This test's database."""
    made = connect(settings.database)
    yield made
    made.dispose()


@pytest.fixture(params=["database", "redis"])
def store(request: pytest.FixtureRequest, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of each kind, of this test alone."""
    if request.param == "database":
        yield DatabaseStore(engine)
        return
    if not REDIS:
        pytest.skip("YARDMASTER_TEST_REDIS_URL names no server, e.g. redis://127.0.0.1:6379/9")
    monkeypatch.setattr(redis_store, "PREFIX", f"yardmaster:spend:test:{uuid4().hex}")
    made = RedisStore(REDIS, engine)
    yield made
    _empty(made)


def _empty(store: RedisStore) -> None:
    """Leave nothing of a test in Redis."""
    for name in list(store._redis.scan_iter(f"{store._space}*")):
        store._redis.delete(name)


def call(id_: str, cost: int | None, **fields: Any) -> TraceRecord:
    """A finished call of user 7."""
    plain = {"id": id_, "created_at": NOON, "request_id": "r", "operation": "chat.completion", "user_id": 7}
    plain |= {"provider": "openai", "model": "gpt-4o", "status": "ok", "cost_nano": cost}
    return TraceRecord(**plain | fields)


def reserve(id_: str, amount: int, most: int | None = CAP) -> Reserve:
    """A reservation on every counter."""
    return Reserve(id_, amount, tuple(Limit(key, most) for key in KEYS))


def spent(engine: Engine) -> dict[Key, tuple[int, int]]:
    """What the counters in the database say."""
    with transaction(engine, write=False) as opened:
        return {key: (held.spent, held.reserved) for key, held in read(opened.connection(), KEYS).items()}


def room(store: Store) -> int:
    """The largest amount a call could reserve now, found by asking."""
    low, high = 0, 2 * CAP
    while low < high:
        middle, id_ = (low + high + 1) // 2, trace_id()
        [refusal] = store.apply([reserve(id_, middle)])
        if refusal is None:
            store.apply([Settle(id_, 0)])
        low, high = (low, middle - 1) if refusal else (middle, high)
    return low


class Money(RuleBasedStateMachine):
    """Calls that reserve, settle, are recorded, crash and are swept away, beside a model in plain numbers."""

    engine: Engine
    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[str, int] = {}
        self.settled: dict[str, int] = {}
        self.recorded = self.number = 0
        with transaction(self.engine) as opened:
            for table in (COUNTERS, HOLDS, SpendRollup.__table__, Trace.__table__):
                opened.connection().execute(delete(table))  # type: ignore[arg-type]
        if isinstance(self.store, RedisStore):
            _empty(self.store)

    @property
    def held(self) -> int:
        """What is reserved, or spent and not yet recorded."""
        return sum(self.open.values()) + sum(self.settled.values())

    @rule(amounts=st.lists(st.integers(0, CAP + 20), min_size=1, max_size=4))
    def begin(self, amounts: list[int]) -> None:
        """Several at once: each fits or is refused, in their order."""
        asked = [reserve(f"tr_{self.number + at:04}", amount) for at, amount in enumerate(amounts)]
        self.number += len(asked)
        for operation, refusal in zip(asked, self.store.apply(asked), strict=True):
            fits = self.recorded + self.held + operation.amount <= CAP
            assert (refusal is None) == fits
            if refusal is None:
                self.open[operation.id] = operation.amount
            else:
                assert {limit.key for limit, _ in refusal.full} == set(KEYS)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """A call ends at no more than its worst case."""
        if self.open:
            id_ = data.draw(st.sampled_from(sorted(self.open)))
            cost = data.draw(st.integers(0, self.open.pop(id_)))
            assert self.store.apply([Settle(id_, cost)]) == [None]
            self.settled[id_] = cost

    @rule(data=st.data(), twice=st.booleans())
    def record(self, data: st.DataObject, *, twice: bool) -> None:
        """Its trace is stored, maybe twice."""
        if self.settled:
            id_ = data.draw(st.sampled_from(sorted(self.settled)))
            cost = self.settled.pop(id_)
            record(self.engine, [call(id_, cost)] * (1 + twice))
            self.recorded += cost
            if isinstance(self.store, RedisStore):
                self.store.tend()

    @rule(data=st.data())
    def record_unsettled(self, data: st.DataObject) -> None:
        """A worker dies between the trace and the settlement, which then comes to nothing."""
        if self.open and isinstance(self.store, DatabaseStore):
            id_ = data.draw(st.sampled_from(sorted(self.open)))
            cost = self.open.pop(id_) // 2
            record(self.engine, [call(id_, cost)])
            self.store.apply([Settle(id_, cost)])
            self.recorded += cost

    @rule()
    def forget(self) -> None:
        """Redis loses everything while nothing is under way: the database knows."""
        if isinstance(self.store, RedisStore) and not self.held:
            _empty(self.store)

    @invariant()
    def never_over(self) -> None:
        """Neither in the model nor in the store."""
        assert self.recorded + self.held <= CAP
        for held in spent(self.engine).values():
            assert held[0] == self.recorded
            assert held[1] == (self.held if isinstance(self.store, DatabaseStore) else 0)

    def teardown(self) -> None:
        """When all is settled and recorded, the counter is the sum of the costs."""
        self.store.apply([Settle(id_, 1) for id_, amount in self.open.items() if amount])
        ends = {id_: 1 for id_, amount in self.open.items() if amount} | self.settled
        record(self.engine, [call(id_, cost) for id_, cost in ends.items()])
        self.store.apply([Settle(id_, 0) for id_, amount in self.open.items() if not amount])
        record(self.engine, [call(id_, 0) for id_, amount in self.open.items() if not amount])
        self.store.tend()
        total = self.recorded + sum(ends.values())
        assert all(held == (total, 0) for held in spent(self.engine).values())
        if spent(self.engine):
            assert room(self.store) == CAP - total


def test_no_order_of_events_breaks_a_budget(store: Store, engine: Engine) -> None:
    """The sum never goes over the cap, and at the end the counter is what the calls cost."""
    machine = type("Of", (Money,), {"engine": engine, "store": store})
    quick = hypothesis_settings(
        max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=quick)


def test_many_workers_at_once_share_one_budget(store: Store, engine: Engine) -> None:
    """Each by connections of its own; of fifty, as many pass as have room."""
    others = [type(store)(*((REDIS, engine) if isinstance(store, RedisStore) else (engine,))) for _ in range(5)]
    asked = [reserve(trace_id(), 7) for _ in range(50)]
    turns: list[Callable[[], Any]] = [lambda n=n, o=o: others[n % 5].apply([o]) for n, o in enumerate(asked)]
    assert [refusal for [refusal] in at_once(*turns)].count(None) == CAP // 7


def test_what_a_dead_worker_held_is_free_again(store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless somebody renews it: a call may take hours, a crash must not hold money for good."""
    module = redis_store if isinstance(store, RedisStore) else database
    if isinstance(store, RedisStore):
        monkeypatch.setattr(module, "LEASE_S", 0.05)
    else:
        monkeypatch.setattr(module, "LEASE", database.timedelta(seconds=0.05))
    assert store.apply([reserve("dead", 60), reserve("alive", 30)]) == [None, None]
    monkeypatch.undo() if isinstance(store, DatabaseStore) else monkeypatch.setattr(module, "LEASE_S", 90.0)
    store.renew(["alive"])
    assert store.apply([reserve("third", 20)])[0] is not None
    time.sleep(0.1)
    store.tend()
    assert store.apply([reserve("third", 20)]) == [None]
    assert room(store) == CAP - 50


def test_a_counter_begins_with_what_was_spent_before(store: Store, engine: Engine) -> None:
    """A cap set in the middle of a month counts the month's first half; a model's part is found in its projects'."""
    record(engine, [call(trace_id(), 40), call(trace_id(), 5, created_at=NOON - 86_400_000_000)])
    assert room(store) == CAP - 45
    assert spent(engine)[KEYS[0]] == (40, 0)
    model = Key(MONTH, "model", "gpt-4o")
    [refusal] = store.apply([Reserve(trace_id(), 56, (Limit(model, CAP),))])
    assert refusal is not None
    assert refusal.full[0][1].spent == 45


def test_calls_without_a_hold_count_too(store: Store, engine: Engine) -> None:
    """Such as those under way when a cap was set, or recorded by hand."""
    assert room(store) == CAP
    record(engine, [call(trace_id(), 90), call(trace_id(), None)])
    store.tend()
    assert room(store) == CAP - 90


def test_a_soft_limit_holds_and_refuses_nothing(store: Store) -> None:
    """And stands beside a hard one on the same counter."""
    soft = Reserve(trace_id(), 3 * CAP, (Limit(KEYS[0], None),))
    assert store.apply([soft]) == [None]
    both = Reserve(trace_id(), 1, (Limit(KEYS[0], None), Limit(KEYS[0], CAP)))
    [refusal] = store.apply([both])
    assert refusal is not None
    assert [limit.most for limit, _ in refusal.full] == [CAP]


def test_old_periods_are_forgotten_and_noticed_ones_kept(engine: Engine) -> None:
    """A table of counters must not grow with the years."""
    store = DatabaseStore(engine)
    today = periods(int(time.time() * 1_000_000))
    for key in (Key("2020-01-31", "user", "7"), Key("2020-01", "user", "7"), Key(today[0], "user", "7")):
        store.apply([Reserve(trace_id(), 0, (Limit(key, 1),))])
    with transaction(engine) as opened:
        opened.connection().execute(update(HOLDS).values(expires_at=resets_at("2020-01")))
    store.tend()
    with transaction(engine, write=False) as opened:
        assert opened.scalars(select(COUNTERS.c.period)).all() == [today[0]]


def test_a_clock_that_steps_back_gives_no_budget_twice(store: Store) -> None:
    """Over midnight and back: the day is found as it was left."""
    tomorrow = periods(NOON + 86_400_000_000)[0]
    turns = [DAY, tomorrow, DAY, tomorrow]
    asked = [Reserve(trace_id(), 60, (Limit(Key(day, "user", "7"), CAP),)) for day in turns]
    assert [store.apply([one])[0] is None for one in asked] == [True, True, False, False]


def test_a_store_that_does_not_answer_says_so(engine: Engine) -> None:
    """Nobody is let through because nobody could be asked."""
    away = RedisStore("redis://127.0.0.1:1/0", engine)
    turns: list[Callable[[], object]] = [
        lambda: away.apply([reserve(trace_id(), 1)]),
        lambda: away.apply([Settle(trace_id(), 1)]),
        lambda: away.renew(["one"]),
        away.tend,
    ]
    for turn in turns:
        with pytest.raises(StoreError):
            turn()


def test_periods_are_utc_days_and_whole_months() -> None:
    """February and December too, and the moment before midnight is still the day."""
    assert periods(1_790_000_000_000_000) == ("2026-09-21", "2026-09")
    assert len(days("2028-02")) == 29
    assert days("2026-12").stop == days("2027-01").start
    assert f"{resets_at('2026-12'):%Y-%m-%d}" == "2027-01-01"
    assert f"{resets_at('2026-02-28'):%Y-%m-%dT%H}" == "2026-03-01T00"
    last = int(resets_at("2026-02").timestamp()) * 1_000_000 - 1
    assert periods(last) == ("2026-02-28", "2026-02")
    assert periods(last + 1) == ("2026-03-01", "2026-03")
    assert [kind(period) for period in periods(last)] == ["daily", "monthly"]
