"""What a job over rows is: how it is prepared, and how its rows are worked on, all at once or one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from app.outbound.fetch import Fetcher
from app.services import registry

Json = dict[str, Any]
Note = Callable[[str], None]


class UnitFailed(Exception):  # noqa: N818 (it is an outcome the job counts, and no defect)
    """One unit could not be worked on; the sentence may be shown, and `rows` are its output all the same."""

    def __init__(self, message: str, rows: tuple[Json, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.rows = rows


class JobFailed(UnitFailed):
    """The unit is all there is to the job: with it the job has failed, and there is nothing to keep."""


def _unheard(_: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a job may use besides its rows: pages of the web, and `note`, which tells its log a sentence."""

    fetcher: Fetcher
    note: Note = _unheard


@dataclass(frozen=True, slots=True)
class Prepared:
    """What will run. `items` are the accepted rows, `ignored` how many were dropped, `notices` why, for people."""

    items: list[Json]
    ignored: int
    notices: tuple[str, ...]
    ef_cost: float
    params: Json


Prepare = Callable[[Json, list[Json]], Prepared]
Whole = Callable[[Json, list[Json]], Iterable[Json]]
Each = Callable[[Json, Json, Tools], Iterable[Json]]


@dataclass(frozen=True, slots=True)
class JobType:
    """One kind of job. `lane` is parallel or serial, `unit` what its progress counts.

    `prepare` (params, items) is pure and runs at submit, estimate and re-run; it raises a Problem of validation.
    `whole` (params, items) gives the result of all rows; `each` (params, item, tools) the output rows of one unit, and
    may raise UnitFailed (or JobFailed, its worse kind). A type that has both goes unit by unit when `in_units` says so.
    """

    slug: str
    lane: str
    unit: str
    prepare: Prepare
    whole: Whole | None = None
    each: Each | None = None

    def in_units(self, params: Json) -> bool:
        """Whether `each` does the work: always without `whole`; with both, when the parameters name a URL to read."""
        return self.each is not None and (self.whole is None or "url" in params)


def job_type(slug: str, prepare: Prepare, *, whole: Whole | None = None, each: Each | None = None) -> JobType:
    """The job type of a slug, in the lane and unit the registry publishes."""
    known = registry.job_types()[slug]
    return JobType(slug, known.lane, known.unit, prepare, whole, each)
