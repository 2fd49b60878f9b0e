"""What the gateway saw: traces, what they cost, and the live feed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.gateway.money import usd
from app.http import Answer, created, page
from app.runtime import runtime
from app.services import costs, traces
from app.services.live import feed_of
from app.services.traces import Filters
from app.services.vault.opening import parts
from app.wire.call import Call
from app.wire.moments import moment
from app.wire.pages import Listing
from app.wire.replies import Reply
from models.base import now, session
from models.traces import Trace, TraceBody
from models.views.observe import TraceDetailView, TraceView

Json = dict[str, Any]
LIVE_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

show_trace = TraceView().dump
show_detail = TraceDetailView().dump


def get_overview() -> Json:
    """Show all traffic in one answer."""
    return costs.overview(session(), now())


def list_traces(from_: str | None, to: str | None, limit: int, offset: int, cursor: str | None, **equal: Any) -> Json:
    """List traces, newest first."""
    filters = Filters(since=moment(from_) if from_ else None, until=moment(to) if to else None, **equal)
    found = traces.find(session(), filters, offset + limit)
    listing = Listing(found.query, "traces", show_trace, found.key, total=found.total)
    return page(listing, limit=limit, offset=offset, cursor=cursor)


def create_trace(body: Json) -> Answer:
    """Record a call that did not pass the gateway."""
    row = traces.create(session(), body)
    return created({"status": "recorded", "id": row.id}, f"/api/observe/traces/{row.id}")


def get_trace(id_: str) -> Json:
    """Show a trace whole."""
    trace, body = traces.get(session(), id_)
    return _whole(trace, body)


def _whole(trace: Trace, body: TraceBody | None) -> Json:
    shown: Json = {name: value for name, value in show_detail(trace).items() if name not in {"error", "metadata"}}
    return shown | parts(session(), trace, body)


def get_costs(days: int, group_by: str) -> Json:
    """Show what the last days cost."""
    return costs.costs(session(), now(), days, group_by)


def list_daily_costs(days: int, provider: str | None, model: str | None) -> Json:
    """Show what each of the last days cost."""
    return costs.daily(session(), now(), days, provider=provider, model=model)


def get_timeseries(period: str) -> Json:
    """Show traffic over time."""
    return costs.timeseries(session(), now(), period)


async def stream_live(call: Call, last_event_id: int | None) -> Reply:  # noqa: ARG001 (every async handler gets it)
    """Follow calls as they are recorded."""
    return Reply(200, LIVE_HEADERS, chunks=await feed_of(runtime()).open(last_event_id))


def get_observe_status() -> Json:
    """Show how much is recorded, and how much just now."""
    opened, present = session(), now()
    five, one = (costs.recent(opened, present - timedelta(minutes=minutes)) for minutes in (5, 1))
    return {
        "app": "observe",
        "status": "running",
        "traces": traces.kept_total(opened, {}),
        "recent_5m": five.calls,
        "recent_1m": one.calls,
        "recent_cost_5m": usd(five.cost_nano),
        "live_clients": feed_of(runtime()).listeners,
    }
