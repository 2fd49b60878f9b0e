"""Sort: orders rows by how complete or how good they are, or by any column; equals keep their order, blanks end it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Final

from app.services.row_jobs import columns, mailboxes
from app.services.row_jobs.columns import Getter
from app.services.row_jobs.contract import Json, Prepared, job_type
from app.services.row_jobs.numbers import number
from app.services.row_jobs.parameters import accepted
from app.services.row_jobs.preparing import refuse_unknown, sheet

# A place in the order: numbers, then texts. None is a blank.
Place = tuple[int, Decimal, str] | None
Placing = Callable[[Json], Place]
COMPLETENESS, EMAIL_QUALITY = "completeness", "email_quality"
# What the documented names read; any other name is a column itself.
READ: Final[Mapping[str, str]] = {"note": "rating", "nb_avis": "reviews_count", EMAIL_QUALITY: "email"}


def prepare(params: Json, items: list[Json]) -> Prepared:
    """All rows as they are; a Problem when there are rows and none has the column to sort by."""
    given = accepted("sort", params)
    asked: str = given["sort_by"]
    column = READ.get(asked, asked)
    if asked not in {COMPLETENESS, *READ}:
        refuse_unknown(items, ("sort_by", column))
    return sheet(given, items, () if asked == COMPLETENESS else (column,))


def run(params: Json, rows: list[Json]) -> Iterable[Json]:
    """The rows in order, blanks last in either direction; the first `top_n` of them."""
    placing = _placing(params["sort_by"], rows)
    placed = [(placing(row), row) for row in rows]
    full = sorted(
        ((place, row) for place, row in placed if place is not None),
        key=lambda pair: pair[0],
        reverse=params["direction"] == "desc",
    )
    blanks = (row for place, row in placed if place is None)
    return [*(row for _, row in full), *blanks][: params["top_n"]]


def _placing(sort_by: str, rows: list[Json]) -> Placing:
    if sort_by == COMPLETENESS:
        return completeness
    get = columns.getter(columns.seen(rows), READ.get(sort_by, sort_by))
    return partial(_quality if sort_by == EMAIL_QUALITY else _value, get)


def completeness(row: Json) -> Place:
    """How many cells hold something."""
    return 0, Decimal(columns.filled(row)), ""


def _quality(get: Getter, row: Json) -> Place:
    quality = mailboxes.quality(get(row))
    return None if quality is None else (0, Decimal(quality), "")


def _value(get: Getter, row: Json) -> Place:
    return place(get(row))


def place(cell: Any) -> Place:
    """Where a cell stands: numbers by size, before texts by letter whatever their case and accents; None when blank."""
    if columns.blank(cell):
        return None
    if isinstance(cell, bool):
        return 0, Decimal(cell), ""
    value = number(cell)
    return (0, value, "") if value is not None else (1, Decimal(0), _letters(columns.text(cell)))


def _letters(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in apart if not unicodedata.combining(c))


TYPE: Final = job_type("sort", prepare, whole=run)
