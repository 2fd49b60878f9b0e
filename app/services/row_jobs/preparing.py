"""How a job is prepared from what a caller sent: parameters checked, columns found, unusable rows dropped and told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from app.problems import Issue, invalid
from app.services import registry
from app.services.row_jobs import columns
from app.services.row_jobs.contract import Json, Prepared
from app.services.row_jobs.parameters import accepted

# What a refusal repeats of the columns there are.
MOST_NAMED = 50


def sheet(given: Json, items: list[Json], read: Collection[str] = ()) -> Prepared:
    """Rows that cost nothing and keep their columns; a notice for each one that is read under another name."""
    return Prepared(items, 0, told(items, read), 0.0, given)


def enrichment(slug: str, params: Json, items: list[Json], needs: Sequence[str] = ()) -> Prepared:
    """Rows with the columns the type reads renamed, without those that lack what it needs; one unit of cost each.

    A Problem when rows were sent and none can be worked on.
    """
    given, kind = accepted(slug, params), registry.job_types()[slug]
    needs = needs or kind.needs
    rows, notices = columns.resolve(items, kind.items or ())
    read = [columns.getter(columns.seen(rows), need) for need in needs]
    kept = [row for row in rows if not any(columns.blank(get(row)) for get in read)]
    dropped = len(rows) - len(kept)
    refuse_none_left(items, kept, needs)
    notices += (f"{dropped} row(s) without {' and '.join(needs)} were left out.",) if dropped else ()
    return Prepared(kept, dropped, notices, cost(slug, len(kept)), given)


def cost(slug: str, units: int) -> float:
    """Extraction cost of so many units: 1 EF pays for about 10,000 requests."""
    return round(units * registry.job_types()[slug].ef_per_unit, 9)


def told(items: Sequence[Json], read: Collection[str]) -> tuple[str, ...]:
    """A notice for each column that is read under another name than the one asked for."""
    known = columns.seen(items) if read else []
    found = ((key, name) for name in read for key in columns.keys(known, name) if key != name)
    return tuple(columns.notice(key, name) for key, name in found)


def refuse_none_left(sent: Sequence[Json], kept: Sequence[Json], needs: Iterable[str]) -> None:
    """A Problem when rows were sent and none has what is needed; a job whose source gave no rows simply has none."""
    if sent and not kept:
        issues = (Issue(("body", "items", 0, need), "required") for need in needs)
        raise invalid(*issues)


def refuse_unknown(items: Sequence[Json], *asked: tuple[str | int, str]) -> None:
    """A Problem for each (parameter, column) that no row has, unless there are no rows to have it."""
    known = columns.seen(items)
    missing = [Issue(("body", at), "enum", known[:MOST_NAMED]) for at, name in asked if not columns.keys(known, name)]
    if items and missing:
        raise invalid(*missing)
