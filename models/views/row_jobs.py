"""How jobs over rows are shown: in the words of a search's job, of which they are the general case."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema
from marshmallow.fields import Boolean, Constant, Float, Function, Integer, List, String

from models.row_jobs import RowJobLog
from models.views.fields import Timestamp, rfc3339

Json = dict[str, Any]


def _moment() -> Timestamp:
    return Timestamp(timespec="seconds")


class RowJobView(Schema):
    """A job, apart from its place in the queue. `queries` to `dead_queries` are a search's, empty for the others."""

    id = String(attribute="uid")
    job_type = String()
    queries: Constant[list[str]] = Constant([])
    zones: Constant[list[str]] = Constant([])
    include_reviews = Constant(constant=False)
    status = String()
    grid_points_count = Integer(attribute="units")
    processed_points = Integer(attribute="processed")
    results_count = Integer(attribute="rows")
    error_count = Integer(attribute="failed_units")
    ef_cost = Float()
    created_at = _moment()
    started_at = _moment()
    completed_at = _moment()
    expires_at = _moment()
    error_message = String(attribute="error")
    output_filename = Function(lambda job: f"results_{job.job_type}.csv" if job.has_result else None)
    download_available = Function(lambda job: job.has_result)
    source_job_id = String()
    pipeline_id = String()
    email_mode = String(attribute="mode")
    breakdown: Constant[Json] = Constant({"by_query": {}, "by_zone": {}})
    dead_queries: Constant[list[str]] = Constant([])
    flagged_tiles_count = Constant(0)
    total_attempts_count = Integer(attribute="attempts")
    query_stats: Constant[Json] = Constant({})
    progress_unit = String(attribute="unit")
    ignored_count = Integer(attribute="ignored")
    notices = List(String())


class RowJobLineView(Schema):
    """A line of a job's log."""

    seq = Integer()
    timestamp = Timestamp(timespec="seconds", attribute="at")
    level = String()
    message = String()


class RowJobReportView(Schema):
    """What came of a job, in numbers."""

    id = String(attribute="uid")
    job_type = String()
    status = String()
    received = Function(lambda job: job.units + job.ignored)
    accepted = Integer(attribute="units")
    ignored = Integer(attribute="ignored")
    processed = Integer()
    failed = Integer(attribute="failed_units")
    total = Integer(attribute="rows")
    columns = Function(lambda job: [{"name": name, "filled": filled} for name, filled in job.columns.items()])
    duration_seconds = Function(lambda job: job.seconds)
    error_message = String(attribute="error")
    notices = List(String())


class QueuedRowJobView(Schema):
    """A job in the queue, as its operator sees it."""

    id = String(attribute="uid")
    owner_user_id = Integer(attribute="owner_id")
    job_type = String()
    lane = String()
    status = String()
    parked = Boolean()
    processed_points = Integer(attribute="processed")
    grid_points_count = Integer(attribute="units")
    created_at = _moment()
    started_at = _moment()


def line(row: RowJobLog) -> Json:
    """A line, as a stream sends it."""
    return {"message": row.message, "level": row.level, "timestamp": rfc3339(row.at, "seconds")}
