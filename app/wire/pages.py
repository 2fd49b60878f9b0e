"""Four ways to page a query, and the envelope each dialect puts the page in."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2s
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.problems import Problem
from models.base import EPOCH, MICROSECOND, Moment, micros

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Window:
    """What the caller asked of a list; each dialect uses some of it."""

    limit: int
    offset: int = 0
    page: int = 1
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A query to page: its rows, the name of the array, and how one row is shown.

    `key` lists the columns of its order, newest first when `descending`; they must identify a row together.
    """

    query: Select[Any]
    name: str
    show: Callable[[Any], Json]
    key: Sequence[InstrumentedAttribute[Any]] = ()
    descending: bool = True
    total: int | None = None


def offset(session: Session, listing: Listing, window: Window) -> Json:
    """Stockyard: a named array with `total` and `has_more`; a cursor too where the list has a key."""
    total = _total(session, listing)
    if window.cursor is not None:
        rows, following = _keyset(session, listing, window)
        start = None
    else:
        start = window.offset
        rows = session.scalars(_ordered(listing).limit(window.limit).offset(start)).all()
        more = start + len(rows) < total
        following = _cursor(listing, rows[-1]) if more and rows and listing.key else None
    has_more = following is not None if start is None else start + len(rows) < total
    page: Json = {listing.name: [listing.show(r) for r in rows], "count": len(rows), "total": total}
    page |= {"has_more": has_more, "limit": window.limit} | ({} if start is None else {"offset": start})
    return page | ({"next_cursor": following} if following else {})


def numbered(session: Session, listing: Listing, window: Window) -> Json:
    """Stout: `items` of a 1-based page; past the end there are none."""
    query = _ordered(listing).limit(window.limit).offset((window.page - 1) * window.limit)
    items = [listing.show(row) for row in session.scalars(query)]
    return {"items": items, "total": _total(session, listing), "page": window.page, "limit": window.limit}


def whole(session: Session, listing: Listing, window: Window) -> Json:
    """Outsend: `items` from an offset."""
    query = _ordered(listing).limit(window.limit).offset(window.offset)
    items = [listing.show(row) for row in session.scalars(query)]
    return {"items": items, "total": _total(session, listing), "limit": window.limit, "offset": window.offset}


def cursor(session: Session, listing: Listing, window: Window) -> Json:
    """StackFlow: `data` after a cursor; no `next_cursor` on the last page."""
    rows, following = _keyset(session, listing, window)
    page = {"data": [listing.show(row) for row in rows], "total": _total(session, listing)}
    return page | ({"next_cursor": following} if following else {})


STYLES: Mapping[str, Callable[[Session, Listing, Window], Json]] = {
    f.__name__: f for f in (offset, numbered, whole, cursor)
}


def _total(session: Session, listing: Listing) -> int:
    if listing.total is not None:
        return listing.total
    return session.scalar(select(func.count()).select_from(listing.query.order_by(None).subquery())) or 0


def _ordered(listing: Listing) -> Select[Any]:
    if not listing.key:
        return listing.query
    return listing.query.order_by(*(c.desc() if listing.descending else c.asc() for c in listing.key))


def _keyset(session: Session, listing: Listing, window: Window) -> tuple[Sequence[Any], str | None]:
    """The rows after the cursor: stable whatever is inserted meanwhile, and as fast on the last page as on the first."""
    query = _ordered(listing)
    if window.cursor:
        query = query.where(_after(listing, _decode(listing, window.cursor)))
    rows = session.scalars(query.limit(window.limit + 1)).all()
    kept = rows[: window.limit]
    return kept, _cursor(listing, kept[-1]) if len(rows) > window.limit else None


def _after(listing: Listing, values: Sequence[Any]) -> ColumnElement[bool]:
    alternatives = []
    for at, column in enumerate(listing.key):
        tied = [c == v for c, v in zip(listing.key[:at], values, strict=False)]
        beyond = column < values[at] if listing.descending else column > values[at]
        alternatives.append(and_(*tied, beyond))
    return or_(*alternatives)


def _cursor(listing: Listing, row: Any) -> str:
    values = [_plain(getattr(row, column.key)) for column in listing.key]
    return urlsafe_b64encode(orjson.dumps([_stamp(listing), *values])).decode().rstrip("=")


def _plain(value: Any) -> Any:
    return micros(value) if isinstance(value, datetime) else value


def _decode(listing: Listing, text: str) -> list[Any]:
    try:
        stamp, *values = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError):
        stamp, values = None, []
    known = [isinstance(v, (int, str)) for v in values]
    if stamp != _stamp(listing) or len(values) != len(listing.key) or not all(known):
        raise Problem(400, "The cursor cannot be read, or belongs to another query", code="invalid_cursor")
    return [_typed(column, value) for column, value in zip(listing.key, values, strict=True)]


def _typed(column: InstrumentedAttribute[Any], value: Any) -> Any:
    return EPOCH + value * MICROSECOND if isinstance(column.type, Moment) else value


def _stamp(listing: Listing) -> str:
    """A short hash of the filters and order, so that a cursor is refused on another query."""
    compiled = listing.query.compile()
    order = f"{[column.key for column in listing.key]}|{listing.descending}"
    said = f"{compiled}|{sorted((k, str(v)) for k, v in compiled.params.items())}|{order}"
    return blake2s(said.encode(), digest_size=6).hexdigest()
