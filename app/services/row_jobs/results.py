"""The rows of a result: a page of them, searched and sorted, and the file that is downloaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

from sqlalchemy import Engine

from app.problems import Problem
from app.services.row_jobs import chunks
from app.services.row_jobs.exports import write
from app.wire.pages import Window
from models.base import transaction
from models.row_jobs import ENDED, EXPIRED, RowJob, RowJobRows

Json = dict[str, Any]
# A file up to this size never touches the disk.
IN_MEMORY: Final = 1 << 20


def page(job: RowJob, window: Window, search: str | None, sort: str | None) -> Json:
    """One page of a job's rows, those of its partial result while it runs; none once they are let go."""
    if sort or search:
        total, items = _looked_through(job, window, (search or "").casefold(), sort or "")
    else:
        total, items = job.rows, chunks.between(RowJobRows, job.id, window.offset, window.offset + window.limit)
    if job.status == EXPIRED:
        total, items = 0, []
    return {"items": items, "total": total, "limit": window.limit, "offset": window.offset}


def _looked_through(job: RowJob, window: Window, search: str, sort: str) -> tuple[int, list[Json]]:
    """Reads every row, a chunk at a time, and keeps the sort keys and the page alone."""
    column, descending = sort.removeprefix("-"), sort.startswith("-")
    found = [
        (_key(row.get(column)), number) for number, row in enumerate(_rows(job)) if not search or _holds(row, search)
    ]
    if sort:
        found = _ordered(found, descending=descending)
    wanted = [number for _, number in found[window.offset : window.offset + window.limit]]
    places = {number: place for place, number in enumerate(wanted)}
    items = [(places[number], row) for number, row in enumerate(_rows(job)) if number in places]
    return len(found), [row for _, row in sorted(items, key=lambda item: item[0])]


def _rows(job: RowJob) -> Iterator[Json]:
    return chunks.read(RowJobRows, job.id)


def _holds(row: Json, search: str) -> bool:
    return any(search in str(value).casefold() for value in row.values() if value is not None)


Key = tuple[int, float, str]


def _key(value: Any) -> Key | None:
    """Numbers before texts; None for a cell that is blank."""
    if value in chunks.EMPTY:
        return None
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, str(value).casefold()


def _ordered(found: list[tuple[Key | None, int]], *, descending: bool) -> list[tuple[Key | None, int]]:
    """By key, blanks last either way; equal rows stay in the order of the result."""
    filled = [(key, number) for key, number in found if key is not None]
    filled.sort(key=lambda pair: pair[0], reverse=descending)
    return [*filled, *(pair for pair in found if pair[0] is None)]


def refuse_unready(job: RowJob) -> None:
    """A Problem when there is nothing to download: 400 before the end, 404 after the rows were let go."""
    if job.status == EXPIRED:
        raise Problem(404, "The result has expired")
    if job.status not in ENDED:
        raise Problem(400, f"The job is {job.status}; its result can be downloaded once it has ended")
    if not job.has_result:
        raise Problem(404, "The job ended without a result")


def filename(job: RowJob, format_: str = "csv") -> str:
    """What the file is called."""
    return f"results_{job.job_type}.{format_}"


def make(engine: Engine, job: RowJob, format_: str, folder: Path) -> BinaryIO:
    """The file of a result, at its beginning; its rows are read a chunk at a time and never all held."""
    file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder))  # noqa: SIM115 (whoever reads it closes it)
    try:
        with transaction(engine, write=False):
            write(format_, list(job.columns), _all_rows(job), cast("BinaryIO", file))
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return cast("BinaryIO", file)


def _all_rows(job: RowJob) -> Iterator[Json]:
    """Every row; a 404 Problem when the job is deleted meanwhile, rather than a file that ends early."""
    count = 0
    for row in _rows(job):
        yield row
        count += 1
    if count < job.rows:
        raise Problem(404, "Job not found")


def pieces(file: IO[bytes], size: int = 1 << 16) -> Iterator[bytes]:
    """The file in pieces, closed at the end."""
    with file:
        yield from iter(partial(file.read, size), b"")
