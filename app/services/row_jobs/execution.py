"""Carries a job out, from wherever it is: what is stored is never done again, and a second worker changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.outbound.fetch import FetchCancelledError
from app.problems import Problem
from app.services.row_jobs import chunks, progress
from app.services.row_jobs.logs import Line
from app.services.row_jobs.outcomes import Outcome, outcomes
from app.services.row_jobs.progress import Batch, Work
from app.services.row_jobs.types import TYPES
from app.services.row_jobs.workshop import Workshop
from models.base import transaction
from models.row_jobs import RowJobItems

log = logging.getLogger("yardmaster.row_jobs")
Json = dict[str, Any]
# A batch is stored when it is this large, or this old.
MOST_UNITS: Final = 500
EVERY_S: Final = 1.0


def execute(engine: Engine, uid: str, cancelled: Callable[[], bool], allowed: Sequence[str] = ()) -> None:
    """Work on a job until it ends, or `cancelled()`; trouble with the database is raised, for another attempt.

    `allowed` are hosts and networks that pages may be read from although they are not public.
    """
    with transaction(engine):
        work = progress.begin(uid)
    if work is None:
        return
    try:
        _carry_out(engine, work, cancelled, allowed)
    except FetchCancelledError:
        return
    except (OperationalError, PoolTimeout):
        raise
    except Problem as problem:
        _fail(engine, work, problem.message)
    except Exception as error:
        log.exception("job %s broke: %s", work.uid, type(error).__name__)
        _fail(engine, work, "The server failed on this job")


def _carry_out(engine: Engine, work: Work, cancelled: Callable[[], bool], allowed: Sequence[str]) -> None:
    kind = TYPES.get(work.job_type)
    if kind is None:
        _fail(engine, work, f"This server no longer runs {work.job_type}")
    elif kind.whole and not kind.in_units(work.params):
        _whole(engine, work, kind.whole)
    else:
        with Workshop(kind, work.params, cancelled, allowed) as shop:
            _each(engine, work, shop, cancelled)


def _fail(engine: Engine, work: Work, message: str) -> None:
    with transaction(engine):
        progress.fail(work.job_id, message)


def _whole(engine: Engine, work: Work, do: Callable[[Json, list[Json]], Any]) -> None:
    """All rows at once: computed first, then stored with the end of the job, so that half a sort is never seen."""
    rows = chunks.pack(do(work.params, list(items_of(engine, work.job_id))))
    with transaction(engine):
        progress.finish(work.job_id, work.processed, Batch(work.units - work.processed, 0, rows))


def _each(engine: Engine, work: Work, shop: Workshop, cancelled: Callable[[], bool]) -> None:
    at = work.processed
    found = outcomes(items_of(engine, work.job_id, at), shop.do, shop.width)
    with closing(found):
        for held in _batches(found, cancelled):
            with transaction(engine):
                if not progress.advance(work.job_id, at, _batch(held, at, shop.notes())):
                    return
            at += len(held)
    if at >= work.units:
        with transaction(engine):
            progress.finish(work.job_id, at)


def _batches(found: Iterator[Outcome | None], cancelled: Callable[[], bool]) -> Iterator[list[Outcome]]:
    """Outcomes by the second, or by the hundreds; after `cancelled()` what is there, and no more."""
    held: list[Outcome] = []
    due = time.monotonic() + EVERY_S
    for outcome in found:
        held += [outcome] if outcome else []
        if held and (len(held) >= MOST_UNITS or time.monotonic() > due):
            yield held
            held, due = [], time.monotonic() + EVERY_S
        if cancelled():
            break
    if held:
        yield held


def _batch(held: list[Outcome], at: int, notes: list[Line]) -> Batch:
    packed = chunks.pack(row for outcome in held for row in outcome.rows)
    failed = [Line("warn", f"#{number}: {o.error}") for number, o in enumerate(held, at + 1) if o.error]
    return Batch(len(held), len(failed), packed, [*notes, *failed])


def items_of(engine: Engine, job_id: int, start: int = 0) -> Iterator[Json]:
    """The rows a job works on, some at a time: no transaction is held while they are worked on."""
    read = partial(chunks.between, RowJobItems, job_id)
    while True:
        with transaction(engine, write=False):
            items = read(start, start + chunks.CHUNK)
        yield from items
        start += len(items)
        if len(items) < chunks.CHUNK:
            return
