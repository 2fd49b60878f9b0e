"""The settlement writer's promise: each call counts exactly once, however often and in whatever batches it arrives."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, delete, func, select, text
from sqlalchemy.orm import Session

from app.services import rollups
from app.services.rollups import COUNT_MAX, DAY_US, HOUR_US, record
from app.services.trace_record import TraceRecord, trace_id
from models import migrations
from models.base import Base, connect, transaction
from models.traces import SpendRollup, Trace, TraceBody, TraceCount, TraceTag, UsageDay, UsageRollup

POSTGRES = os.environ.get("YARDMASTER_TEST_POSTGRES_URL", "")
NOON = 1_790_000_000_000_000
TABLES = (Trace, TraceBody, TraceTag, TraceCount, UsageRollup, UsageDay, SpendRollup)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A migrated, empty database of each kind."""
    if request.param == "sqlite":
        made = connect(f"sqlite:///{tmp_path / 'rollups.db'}")
        migrations.upgrade(made)
        yield made
        made.dispose()
    elif POSTGRES:
        yield from _postgres()
    else:
        pytest.skip("YARDMASTER_TEST_POSTGRES_URL is not set")


def _postgres() -> Iterator[Engine]:
    name = f"ym_rollups_{uuid4().hex[:12]}"
    server = create_engine(POSTGRES, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    made = connect(server.url.set(database=name).render_as_string(hide_password=False))
    migrations.upgrade(made)
    yield made
    made.dispose()
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def call(**fields: Any) -> TraceRecord:
    """A finished call, ordinary unless told otherwise."""
    plain = {"id": trace_id(), "created_at": NOON, "request_id": "r", "operation": "chat.completion"}
    plain |= {"provider": "openai", "model": "gpt-4o", "status": "ok", "cost_nano": 5}
    return TraceRecord(**plain | fields)


def settle(engine: Engine, *rows: TraceRecord) -> int:
    """Record in one transaction of its own."""
    with transaction(engine) as opened:
        return record(opened, rows)


def rows_of(engine: Engine, table: type[Base]) -> list[Any]:
    """Every row of a table as plain tuples, in key order."""
    columns = list(table.__table__.columns)
    with transaction(engine, write=False) as opened:
        return [tuple(row) for row in opened.execute(select(*columns).order_by(*table.__table__.primary_key))]


records = st.builds(
    call,
    id=st.sampled_from([f"tr_{n:032x}" for n in range(12)]),
    created_at=st.sampled_from([NOON, NOON + HOUR_US, NOON + DAY_US]),
    provider=st.sampled_from(["openai", "anthropic"]),
    model=st.sampled_from(["a", "b"]),
    status=st.sampled_from(["ok", "error", "cache_hit"]),
    duration_us=st.integers(0, 10**6),
    tokens_in=st.integers(0, 10**6),
    tokens_out=st.integers(0, 10**6),
    cost_nano=st.none() | st.integers(0, 10**9),
    saved_nano=st.integers(0, 10**9),
    user_id=st.none() | st.integers(1, 3),
    key_id=st.none() | st.integers(1, 3),
    project=st.sampled_from(["default", "other"]),
    tags=st.dictionaries(st.sampled_from(["team", "env"]), st.sampled_from(["x", "y"])),
    response_body=st.none() | st.binary(max_size=5),
)


def naive_usage(rows: list[TraceRecord], span_us: int) -> list[tuple[Any, ...]]:
    """The hourly or daily rollup counted the slow and obvious way."""
    keys = sorted({(r.created_at // span_us, r.provider, r.model) for r in rows})
    groups = {k: [r for r in rows if (r.created_at // span_us, r.provider, r.model) == k] for k in keys}
    return [
        (
            *k,
            len(g),
            sum(r.status == "error" for r in g),
            sum(r.status == "cache_hit" for r in g),
            sum(r.cost_nano is None for r in g),
            sum(r.tokens_in for r in g),
            sum(r.tokens_out for r in g),
            sum(r.cost_nano or 0 for r in g),
            sum(r.saved_nano for r in g),
            sum(r.duration_us for r in g),
        )
        for k, g in groups.items()
    ]


def payers(row: TraceRecord) -> set[tuple[str, str]]:
    """Who a call is booked on."""
    named = {("user", str(row.user_id)), ("key", str(row.key_id)), ("project", row.project)}
    return {n for n in named if n[1] != "None"} | {("tag", f"{k}={v}") for k, v in row.tags.items()}


def naive_spend(rows: list[TraceRecord]) -> list[tuple[Any, ...]]:
    """The daily rollup counted the slow and obvious way."""
    booked = [((r.created_at // DAY_US, *payer, r.model), r) for r in rows for payer in payers(r)]
    groups = {k: [r for key, r in booked if key == k] for k in sorted({key for key, _ in booked})}
    return [
        (
            *k,
            len(g),
            sum(r.cost_nano is None for r in g),
            sum(r.tokens_in for r in g),
            sum(r.tokens_out for r in g),
            sum(r.cost_nano or 0 for r in g),
        )
        for k, g in groups.items()
    ]


@given(batches=st.lists(st.lists(records, max_size=6), max_size=5), again=st.lists(st.integers(0, 4), max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_batches_replayed_any_number_of_times_add_up_to_the_traces(
    engine: Engine, batches: list[list[TraceRecord]], again: list[int]
) -> None:
    """Money and counts are exact whatever a crash made the spool send twice."""
    with transaction(engine) as opened:
        for table in TABLES:
            opened.execute(delete(table))
    replayed = [*batches, *(batches[at] for at in again if at < len(batches))]
    new = sum(settle(engine, *batch) for batch in replayed)
    first: dict[str, TraceRecord] = {}
    for batch in batches:
        for row in batch:
            first.setdefault(row.id, row)
    kept = list(first.values())
    assert new == len(kept)
    stored = [row[1:] for row in rows_of(engine, Trace)]
    assert [row[0] for row in stored] == [r.id for r in kept]
    columns = Trace.__table__.columns.keys()[1:]
    assert [row[columns.index("model")] for row in stored] == [r.model for r in kept]
    assert rows_of(engine, UsageRollup) == naive_usage(kept, HOUR_US)
    assert rows_of(engine, UsageDay) == naive_usage(kept, DAY_US)
    assert rows_of(engine, SpendRollup) == naive_spend(kept)
    kinds = Counter((r.source, r.status, r.provider, r.model, r.project) for r in kept)
    assert rows_of(engine, TraceCount) == sorted((*kind, n) for kind, n in kinds.items())
    assert len(rows_of(engine, TraceTag)) == sum(len(r.tags) for r in kept)
    assert len(rows_of(engine, TraceBody)) == sum(bool(r.response_body) for r in kept)


def test_a_record_reads_back_whole(engine: Engine) -> None:
    """Nothing the gateway measured is lost on the way to the table."""
    body = "naïve ☃ \U0001f600".encode()[:-1]
    row = call(parent_id="tr_x", error="late", stream=True, first_byte_us=7, tags={"team": "a"}, request_body=body)
    row = row._replace(details={"finish": ["stop", {"n": 1}]}, key_id=3, http_status=502, attempts=2)
    settle(engine, row)
    with transaction(engine, write=False) as opened:
        trace, stored = opened.execute(select(Trace, TraceBody).join(TraceBody, TraceBody.seq == Trace.seq)).one()
    same = [n for n in TraceRecord._fields if n not in {"created_at", "request_body", "response_body"}]
    assert {n: getattr(trace, n) for n in same} == {n: getattr(row, n) for n in same}
    assert (trace.created_at.timestamp() * 10**6, stored.request, stored.response) == (NOON, body, None)


def test_text_and_counts_no_column_could_hold_do_not_stop_the_batch(engine: Engine) -> None:
    """One absurd answer of a provider must not keep a thousand good records in the spool forever."""
    odd = call(
        model="m" * 300, error="a\0b" * 900, tokens_in=-4, tokens_out=10**30, project="\0p", tags={"k\0": "v" * 300}
    )
    assert settle(engine, odd, call()) == 2
    (usage,) = [r for r in rows_of(engine, UsageRollup) if r[2] == "m" * 256]
    assert usage[7:9] == (0, COUNT_MAX)
    assert {r[2] for r in rows_of(engine, SpendRollup)} >= {"p", ("k=" + "v" * 300)[:200]}


def interrupt(engine: Engine) -> None:
    """A writer that dies between its last statement and the commit."""
    with transaction(engine) as opened:
        record(opened, [call(tags={"a": "b"}, request_body=b"x")])
        raise ZeroDivisionError


def test_a_failed_transaction_leaves_neither_traces_nor_rollups(engine: Engine) -> None:
    """Traces without their money, or money without its traces, could never be reconciled."""
    with pytest.raises(ZeroDivisionError):
        interrupt(engine)
    assert [rows_of(engine, table) for table in TABLES] == [[]] * len(TABLES)


def test_numbers_are_never_given_twice(engine: Engine) -> None:
    """A live reader's position stays valid after retention deleted the newest rows."""
    settle(engine, call(), call())
    with transaction(engine) as opened:
        highest = opened.scalar(select(func.max(Trace.seq)))
        opened.execute(delete(Trace))
    settle(engine, call())
    assert rows_of(engine, Trace)[0][0] > highest


def test_only_sixteen_tags_are_booked() -> None:
    """One caller with ten thousand tags must not make ten thousand rows a day."""
    assert len(rollups.tag_refs({f"k{n}": "v" for n in range(50)})) == rollups.MAX_TAGS


def test_recording_nothing_touches_nothing(engine: Engine) -> None:
    """An idle flush costs no statement."""
    with Session(engine) as opened:
        assert record(opened, []) == 0
        assert not opened.in_transaction()
