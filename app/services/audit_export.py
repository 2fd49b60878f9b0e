"""The audit log in one piece: read batch by batch while it is sent, so that neither memory nor a lock grows with it."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Engine, func, select

from app.services import audit, orgs
from app.services.audit import Filters
from models.audit import AuditEntry
from models.base import session, transaction
from models.orgs import Org
from models.views.audit import shown_in

Json = dict[str, Any]
MOST = 100_000
BATCH = 500
COLUMNS = (
    "id", "createdAt", "actorType", "actorId", "actorEmail", "action", "resourceType", "resourceId", "metadata",
    "requestId", "ipAddress",
)  # fmt: skip
# What makes a spreadsheet run a cell, at its start: signs, their full-width twins, and controls (OWASP, CSV Injection).
FORMULAS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


@dataclass(frozen=True, slots=True)
class Export:
    """Entries of an org up to the one that was newest when it began; `total` of them match."""

    engine: Engine
    org: Org
    filters: Filters
    newest: int
    total: int

    async def batches(self) -> AsyncIterator[list[Json]]:
        """The newest `MOST` entries, newest first, each batch in a short transaction of its own."""
        position, left = self.newest + 1, MOST
        while left > 0:
            rows = await asyncio.to_thread(self._read, position, min(BATCH, left))
            if not rows:
                return
            position, left = rows[-1][0], left - len(rows)
            yield [entry for _, entry in rows]

    def _read(self, position: int, count: int) -> list[tuple[int, Json]]:
        older = audit.of_org(self.org, self.filters).where(AuditEntry.id < position)
        with transaction(self.engine, write=False) as opened:
            rows = opened.scalars(older.order_by(AuditEntry.id.desc()).limit(count)).all()
            return [(row.id, shown_in(self.org, row)) for row in rows]


def begin(engine: Engine, org_uid: str, filters: Filters) -> Export:
    """An export for who makes the request; a 404 Problem when they are not in the org."""
    with transaction(engine, write=False):
        org = orgs.acting(org_uid).org
        matching = audit.of_org(org, filters).with_only_columns(AuditEntry.id).order_by(None).subquery()
        newest, total = session().execute(select(func.max(matching.c.id), func.count(matching.c.id))).one()
    return Export(engine, org, filters, newest or 0, total)


async def as_json(export: Export) -> AsyncIterator[bytes]:
    """One object; cut short, it is no JSON."""
    yield b'{"total":%d,"items":[' % export.total
    first = True
    async for batch in export.batches():
        yield (b"" if first else b",") + orjson.dumps(batch)[1:-1]
        first = False
    yield b"]}"


async def as_csv(export: Export) -> AsyncIterator[bytes]:
    """Lines as RFC 4180 has them."""
    yield _lines([COLUMNS])
    async for batch in export.batches():
        yield _lines([[neutral(_cell(entry.get(name))) for name in COLUMNS] for entry in batch])


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def neutral(cell: str) -> str:
    """The cell, with an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{cell}" if cell.startswith(FORMULAS) or cell.lstrip().startswith(FORMULAS) else cell


Writer = Callable[[Export], AsyncIterator[bytes]]
WRITERS: Mapping[str, tuple[str, Writer]] = {
    "json": ("application/json", as_json),
    "csv": ("text/csv; charset=utf-8", as_csv),
}
