"""Retention's promise: old traces go whole, young ones stay, and what was spent is not forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from app.engine import Context, Stopping
from app.services.retention import Retention, expire
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from models.base import Base, connect, micros, now, transaction
from models.traces import SpendRollup, Trace, TraceBody, TraceCount, TraceTag, UsageRollup


@pytest.fixture
def engine(settings: Any) -> Iterator[Engine]:
    """The test's database."""
    made = connect(settings.database)
    yield made
    made.dispose()


def calls(number: int, days_ago: float, model: str = "m") -> list[TraceRecord]:
    """So many calls of some days ago, each with a body and two tags."""
    moment = micros(now() - timedelta(days=days_ago))
    tags = {"team": "a", "env": "b"}
    return [
        TraceRecord(trace_id(), moment, "r", "chat", "p", model, "ok", cost_nano=5, tags=tags, request_body=b"x")
        for _ in range(number)
    ]


def count(engine: Engine, *tables: type[Base]) -> list[int]:
    """How many rows each table has."""
    with transaction(engine, write=False) as opened:
        return [opened.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def sweep(retention: Retention, *, stopping: bool = False) -> int:
    """One turn, in a worker that goes on or is about to end; how many traces went."""
    ending = threading.Event()
    if stopping:
        ending.set()
    return retention.sweep(Context("retention", ending, lambda: False, lambda _, step: step()))


def kept(engine: Engine) -> dict[str, int]:
    """What the counters say is kept, by model."""
    with transaction(engine, write=False) as opened:
        return dict(map(tuple, opened.execute(select(TraceCount.model, TraceCount.traces))))


def test_old_traces_go_whole_and_the_rollups_stay(engine: Engine) -> None:
    """A week of prompts is enough; the year's bill is not."""
    store(engine, [*calls(7, 8), *calls(2, 8, "old"), *calls(3, 6)])
    before = count(engine, UsageRollup, SpendRollup)
    assert sweep(Retention(engine, lambda: 7)) == 9
    assert count(engine, Trace, TraceBody, TraceTag) == [3, 3, 6]
    assert count(engine, UsageRollup, SpendRollup) == before
    assert kept(engine) == {"m": 3}


def test_a_long_past_goes_in_small_batches(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million old rows in one transaction would stop every writer for minutes."""
    store(engine, calls(1_200, 8))
    sizes: list[int] = []

    def noted(*arguments: Any) -> int:
        sizes.append(expire(*arguments))
        return sizes[-1]

    monkeypatch.setattr("app.services.retention.expire", noted)
    assert sweep(Retention(engine, lambda: 7, pause_s=0.001)) == 1_200
    assert sizes == [500, 500, 200]


def test_no_days_keep_everything(engine: Engine) -> None:
    """An operator who must keep all can."""
    store(engine, calls(2, 5_000))
    assert sweep(Retention(engine, lambda: 0)) == 0
    assert count(engine, Trace) == [2]


def test_the_days_in_force_are_asked_for_each_time(engine: Engine) -> None:
    """A change of the setting needs no restart."""
    store(engine, calls(2, 5))
    days = iter((7, 3))
    retention = Retention(engine, lambda: next(days))
    assert [sweep(retention), sweep(retention)] == [0, 2]


def test_two_workers_at_once_count_each_trace_once(engine: Engine) -> None:
    """Counters taken down twice would show fewer traces than there are."""
    store(engine, [*calls(600, 8), *calls(50, 1)])
    limit = now() - timedelta(days=7)
    with ThreadPoolExecutor(4) as pool:
        gone = list(pool.map(lambda _: expire(engine, limit, 100), range(8)))
    assert sum(gone) == 600
    assert kept(engine) == {"m": 50}


def test_it_makes_way_after_the_batch_at_hand(engine: Engine) -> None:
    """A worker that ends does not wait for a million rows to go; another goes on."""
    store(engine, calls(1_200, 8))
    with pytest.raises(Stopping):
        sweep(Retention(engine, lambda: 7), stopping=True)
    assert count(engine, Trace) == [700]


@pytest.mark.settings(engine="on")
def test_it_works_by_itself_beside_the_requests(engine: Engine, request: pytest.FixtureRequest) -> None:
    """Retention that must be asked for does not happen."""
    store(engine, calls(3, 800))
    request.getfixturevalue("client")
    deadline = time.monotonic() + 10
    while count(engine, Trace) != [0] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count(engine, Trace) == [0]
