"""The settlement writer: finished calls into the traces and their rollups, each exactly once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, String, Table, text
from sqlalchemy.orm import Session

from app.services import guardrail_events
from app.services.observing import intake
from app.services.spending import counters
from app.services.spending.counters import Paid
from app.services.trace_record import TraceRecord
from app.services.trust import violations
from app.services.webhooks import traffic
from models.base import transaction
from models.traces import SpendRollup, Trace, TraceBody, TraceCount, TraceTag, UsageDay, UsageRollup

HOUR_US = 3_600_000_000
HOURS = 24
DAY_US = HOURS * HOUR_US
# Held to the end of the transaction, so that `seq` grows in the order of commits and a reader of the tail misses none.
LOCK = 7_201_915
MAX_TAGS = 16
TAG_LENGTH = 200
# No single call counts for more: a provider's nonsense must not overflow a sum.
COUNT_MAX = 10**12
NANO_MAX = 10**15

Key = tuple[Any, ...]
Sums = Mapping[Key, Sequence[int]]

STORED = tuple(name for name in TraceRecord._fields if not name.endswith("_body"))
LENGTHS = {c.name: c.type.length for c in Trace.__table__.columns if isinstance(c.type, String) and c.type.length}
TEXTS = tuple((at, LENGTHS[name]) for at, name in enumerate(STORED) if name in LENGTHS)
COUNTS = tuple(
    (at, NANO_MAX if name.endswith("_nano") else COUNT_MAX)
    for at, name in enumerate(STORED)
    if name.endswith(("_nano", "_us")) or name.startswith("tokens_") or name in {"http_status", "attempts"}
)
TAGS, DETAILS, STREAM = STORED.index("tags"), STORED.index("details"), STORED.index("stream")


def record(session: Session, rows: Sequence[TraceRecord]) -> int:
    """Store finished calls and add the new ones to the rollups; how many were new.

    A trace id stored before is passed over, so the same records may be sent any number of times, in any batches. The
    session's transaction must be open for writing; its caller commits. What no column could hold is made to fit.
    """
    if not rows:
        return 0
    connection = session.connection()
    statements = STATEMENTS[connection.dialect.name]
    only_writer(connection)
    fitted = fit_all(rows)
    before = connection.exec_driver_sql("SELECT coalesce(max(seq), 0) FROM traces").scalar_one()
    connection.exec_driver_sql(statements["traces"], [_stored(row) for row in fitted])
    numbers = connection.exec_driver_sql(f"SELECT id, seq FROM traces WHERE seq > {before:d}")  # noqa: S608 (a number)
    fresh = _fresh(fitted, dict(map(tuple, numbers)))
    _write_aside(connection, statements, fresh)
    guardrail_events.record(connection, (row for _, row in fresh))
    for table, sums in aggregate(row for _, row in fresh).items():
        _add(connection, statements[table], sums)
    counters.settle(connection, (_paid(row) for _, row in fresh))
    traffic.tell([row for _, row in fresh], before)
    intake.observe(session, [row for _, row in fresh])
    violations.record(row for _, row in fresh)
    return len(fresh)


def only_writer(connection: Connection) -> None:
    """Wait until no other transaction writes traces; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


def store(engine: Engine, rows: Sequence[TraceRecord]) -> int:
    """The same in a transaction of its own."""
    with transaction(engine) as session:
        return record(session, rows)


def fit_all(rows: Sequence[TraceRecord]) -> Sequence[TraceRecord]:
    """The records as their columns can hold them; looked at by column, for nearly all of them fit."""
    columns = list(zip(*rows, strict=False))
    texts = all(_holds(columns[at], length) for at, length in TEXTS)
    return rows if texts and all(_counts(columns[at], most) for at, most in COUNTS) else [fit(row) for row in rows]


def _holds(column: Iterable[str | None], length: int) -> bool:
    said = list(filter(None, column))
    return max(map(len, said), default=0) <= length and "\0" not in "".join(said)


def _counts(column: Iterable[int | None], most: int) -> bool:
    counted = list(filter(None, column))
    return not counted or (min(counted) >= 0 and max(counted) <= most)


def fit(row: TraceRecord) -> TraceRecord:
    """The record as its columns can hold it: text cut and without NUL, counts within bounds."""
    changes: dict[str, Any] = {}
    values: Key = row
    for at, length in TEXTS:
        value = values[at]
        if value is not None and (len(value) > length or "\0" in value):
            changes[STORED[at]] = value.replace("\0", "")[:length]
    for at, most in COUNTS:
        value = values[at]
        if value is not None and not 0 <= value <= most:
            changes[STORED[at]] = min(max(value, 0), most)
    return row._replace(**changes) if changes else row


def tag_ref(key: str, value: str) -> str:
    """A tag as the rollups name it: `key=value` without NUL, cut to 200 characters."""
    return f"{key}={value}".replace("\0", "")[:TAG_LENGTH]


def tag_refs(tags: Mapping[str, str]) -> list[str]:
    """Each tag once, sorted: the first 16 of them."""
    return sorted({tag_ref(key, value) for key, value in islice(tags.items(), MAX_TAGS)})


def aggregate(rows: Iterable[TraceRecord]) -> dict[str, Sums]:
    """What the records add to each rollup: table → key → the sums, in the order of its columns."""
    usage: dict[Key, list[Key]] = defaultdict(list)
    spend: dict[Key, list[Key]] = defaultdict(list)
    counts: Counter[Key] = Counter()
    for row in rows:
        unpriced, cost = int(row.cost_nano is None), row.cost_nano or 0
        tokens, took = (row.tokens_in, row.tokens_out), (row.saved_nano, row.duration_us)
        sums = (1, int(row.status == "error"), int(row.status == "cache_hit"), unpriced, *tokens, cost, *took)
        usage[row.created_at // HOUR_US, row.provider, row.model].append(sums)
        share, day = (1, unpriced, *tokens, cost), row.created_at // DAY_US
        for scope, ref in _payers(row):
            spend[day, scope, ref, row.model].append(share)
        counts[row.source, row.status, row.provider, row.model, row.project] += 1
    hours, days = _summed(usage), defaultdict(list)
    for (hour, *of), total in hours.items():
        days[(hour // HOURS, *of)].append(total)
    kept = {key: (number,) for key, number in counts.items()}
    return dict(zip(ROLLUPS, (hours, _summed(days), _summed(spend), kept), strict=True))


def _summed(lists: Mapping[Key, Iterable[Sequence[int]]]) -> dict[Key, Sequence[int]]:
    """The sum of each place of the lists under a key."""
    return {key: tuple(map(sum, zip(*values, strict=True))) for key, values in lists.items()}


def _payers(row: TraceRecord) -> list[tuple[str, str]]:
    payers = [("project", row.project)]
    if row.user_id is not None:
        payers.append(("user", str(row.user_id)))
    if row.key_id is not None:
        payers.append(("key", str(row.key_id)))
    return payers + [("tag", ref) for ref in tag_refs(row.tags)] if row.tags else payers


def _paid(row: TraceRecord) -> Paid:
    return Paid(row.id, row.created_at, row.cost_nano or 0, [*_payers(row), (counters.MODEL, row.model)])


def _stored(row: TraceRecord) -> Key:
    values: list[Any] = list(row[: len(STORED)])
    values[TAGS], values[DETAILS] = _json(row.tags), _json(row.details)
    values[STREAM] = bool(row.stream)
    return tuple(values)


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(value)).decode() if value else "{}"


def _fresh(rows: Iterable[TraceRecord], numbers: dict[str, int]) -> list[tuple[int, TraceRecord]]:
    """The records that were just inserted, with their numbers; a repeated id is its first record."""
    return [(numbers.pop(row.id), row) for row in rows if row.id in numbers]


def _write_aside(connection: Connection, statements: Mapping[str, str], fresh: list[tuple[int, TraceRecord]]) -> None:
    bodies = [(n, r.request_body, r.response_body) for n, r in fresh if r.request_body or r.response_body]
    tags = sorted((ref, number) for number, row in fresh if row.tags for ref in tag_refs(row.tags))
    for table, values in ((TraceBody.__tablename__, bodies), (TraceTag.__tablename__, tags)):
        if values:
            connection.exec_driver_sql(statements[table], values)


def _add(connection: Connection, statement: str, sums: Sums) -> None:
    """Sorted, so that two writers take the rows' locks in one order."""
    if sums:
        connection.exec_driver_sql(statement, [(*key, *sums[key]) for key in sorted(sums)])


def _insert(table: Table, names: Iterable[str], mark: str, clash: str = "") -> str:
    names = list(names)
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))}) {clash}".strip()  # noqa: S608


def _upsert(table: Table, mark: str) -> str:
    key = [c.name for c in table.primary_key]
    sums = [c.name for c in table.columns if c.name not in key]
    added = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in sums)
    return _insert(table, [*key, *sums], mark, f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {added}")


def _statements(mark: str) -> dict[str, str]:
    """Every statement of the writer for a driver's parameter mark, made once: compiling costs more than running."""
    tables = Trace.metadata.tables
    aside = {name: _insert(tables[name], [c.name for c in tables[name].columns], mark) for name in ASIDE}
    traces = _insert(tables["traces"], STORED, mark, "ON CONFLICT (id) DO NOTHING")
    return {"traces": traces} | aside | {name: _upsert(tables[name], mark) for name in ROLLUPS}


ASIDE = (TraceBody.__tablename__, TraceTag.__tablename__)
ROLLUPS = tuple(table.__tablename__ for table in (UsageRollup, UsageDay, SpendRollup, TraceCount))
STATEMENTS = {"sqlite": _statements("?"), "postgresql": _statements("%s")}
