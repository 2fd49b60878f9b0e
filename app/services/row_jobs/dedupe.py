"""Dedupe: keeps one row for each value of the chosen columns, the first or the one that knows most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from app.services.row_jobs import columns
from app.services.row_jobs.contract import Json, Prepared, job_type
from app.services.row_jobs.parameters import accepted
from app.services.row_jobs.preparing import refuse_unknown, sheet


def prepare(params: Json, items: list[Json]) -> Prepared:
    """All rows as they are; a Problem naming each key that is a column of none."""
    given = accepted("dedupe", params)
    refuse_unknown(items, *((f"keys[{at}]", key) for at, key in enumerate(given["keys"])))
    return sheet(given, items, given["keys"])


def run(params: Json, rows: list[Json]) -> Iterable[Json]:
    """The kept rows, unchanged, each where the first of its kind stood.

    Rows are the same when all keys are, whatever their case and spaces; rows without any key are nobody's copies.
    """
    known = columns.seen(rows)
    keys = [columns.getter(known, key) for key in params["keys"]]
    fullest = params["keep"] == "most_complete"
    kept: dict[object, Json] = {}
    for at, row in enumerate(rows):
        values = tuple(columns.same(get(row)) for get in keys)
        same = values if any(values) else at
        held = kept.setdefault(same, row)
        if fullest and columns.filled(row) > columns.filled(held):
            kept[same] = row
    return kept.values()


TYPE: Final = job_type("dedupe", prepare, whole=run)
