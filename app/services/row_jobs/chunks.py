"""Rows in chunks: a few hundred to a database row, so that ten thousand are neither as many statements nor one blob."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import BigInteger, delete, insert, literal, select

from app.problems import malformed
from models.base import session
from models.row_jobs import RowJobItems, RowJobRows

Json = dict[str, Any]
Table = type[RowJobItems] | type[RowJobRows]
CHUNK = 500
EMPTY: tuple[object, ...] = (None, "", [], {})


@dataclass(slots=True)
class Packed:
    """Rows made ready to be stored: JSON texts with their number of rows, and the filled cells of each column."""

    count: int = 0
    chunks: list[tuple[int, bytes]] = field(default_factory=list)
    columns: dict[str, int] = field(default_factory=dict)


def pack(rows: Iterable[Json]) -> Packed:
    """Rows as chunks, read one chunk at a time; a 400 Problem when a value is nested deeper than JSON is written."""
    packed, rest = Packed(), iter(rows)
    while chunk := list(islice(rest, CHUNK)):
        packed.chunks.append((len(chunk), _text(chunk)))
        packed.count += len(chunk)
        for row in chunk:
            for name, value in row.items():
                packed.columns[name] = packed.columns.get(name, 0) + (value not in EMPTY)
    return packed


def _text(rows: list[Json]) -> bytes:
    try:
        return orjson.dumps(rows)
    except orjson.JSONEncodeError:  # it writes less deep than it reads
        raise malformed("A row is nested too deeply") from None


def store(table: Table, job_id: int, first: int, packed: Packed) -> None:
    """Store packed rows from the position `first` on."""
    values = []
    for count, data in packed.chunks:
        values.append({"job_id": job_id, "first": first, "count": count, "data": data})
        first += count
    if values:
        session().execute(insert(table), values)


def read(table: Table, job_id: int, start: int = 0) -> Iterator[Json]:
    """The rows of a job from a position on, one chunk in memory at a time."""
    for first, rows in _chunks(table, job_id, start):
        yield from rows[max(0, start - first) :]


def _chunks(table: Table, job_id: int, start: int) -> Iterator[tuple[int, list[Json]]]:
    wanted = select(table.first, table.count, table.data).where(table.job_id == job_id)
    while (
        found := session()
        .execute(wanted.where(table.first + table.count > start).order_by(table.first).limit(1))
        .first()
    ):
        yield found.first, orjson.loads(found.data)
        start = found.first + found.count


def between(table: Table, job_id: int, start: int, stop: int) -> list[Json]:
    """The rows from a position up to another."""
    return list(islice(read(table, job_id, start), max(0, stop - start)))


def copy(table: Table, source_id: int, job_id: int) -> None:
    """Give a job the rows of another, without reading them."""
    columns = (table.first, table.count, table.data)
    rows = select(literal(job_id, BigInteger), *columns).where(table.job_id == source_id)
    session().execute(insert(table).from_select(["job_id", "first", "count", "data"], rows))


def forget(table: Table, job_id: int) -> None:
    """Delete the rows of a job."""
    session().execute(delete(table).where(table.job_id == job_id))
