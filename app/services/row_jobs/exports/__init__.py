"""Rows as a file: CSV, JSON or a workbook, written row by row so that a large result needs little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, Final

from app.problems import Issue, invalid
from app.services.row_jobs.exports import as_csv, as_json, as_xlsx

Json = dict[str, Any]
Write = Callable[[list[str], Iterable[Json], BinaryIO], None]
WRITERS: Final[Mapping[str, Write]] = {"csv": as_csv.write, "json": as_json.write, "xlsx": as_xlsx.write}
MEDIA_TYPES: Final[Mapping[str, str]] = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def write(format: str, columns: list[str], rows: Iterable[Json], out: BinaryIO) -> None:  # noqa: A002 (the query's name)
    """Write these columns of the rows to `out`, which stays open; a Problem for a format there is none of."""
    writer = WRITERS.get(format)
    if writer is None:
        raise invalid(Issue(("query", "format"), "enum", list(WRITERS)))
    writer(columns, rows, out)
