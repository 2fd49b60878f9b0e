"""What comes of each unit, in the order of the units: one after the other, or several at once where they wait."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Final, NamedTuple

from app.outbound.fetch import FetchCancelledError
from app.services.row_jobs.contract import UnitFailed

log = logging.getLogger("yardmaster.row_jobs")
Json = dict[str, Any]
TICK_S: Final = 0.25
Do = Callable[[Json], list[Json]]


class Outcome(NamedTuple):
    """The rows of a unit; when it failed, the rows it has all the same, or the one it came as, and why."""

    rows: list[Json]
    error: str = ""


def outcomes(items: Iterator[Json], do: Do, width: int) -> Generator[Outcome | None]:
    """The outcome of each item; None now and then while one is waited for, so that the reader can look around."""
    if width == 1:
        return (_attempt(do, item) for item in items)
    return _side_by_side(items, do, width)


def _side_by_side(items: Iterator[Json], do: Do, width: int) -> Generator[Outcome | None]:
    pool = ThreadPoolExecutor(width, "row-job-unit")
    waiting: deque[Future[Outcome]] = deque()
    try:
        while True:
            while len(waiting) < 2 * width and (item := next(items, None)) is not None:
                waiting.append(pool.submit(_attempt, do, item))
            if not waiting:
                return
            try:
                yield waiting[0].result(TICK_S)
            except NotYet:
                yield None
            else:
                waiting.popleft()
    finally:
        # Whoever was asked may answer much later; nobody waits for it.
        pool.shutdown(wait=False, cancel_futures=True)


def _attempt(do: Do, item: Json) -> Outcome:
    try:
        return Outcome(do(item))
    except UnitFailed as failure:
        return Outcome(list(failure.rows) or [item], failure.message or "It failed")
    except FetchCancelledError:
        raise
    except Exception as error:
        log.exception("a unit of a job broke: %s", type(error).__name__)
        return Outcome([item], "The server failed on it")
