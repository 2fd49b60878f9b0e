"""Log lines: one finished call as one line, in the form a collector reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from app.gateway.money import usd
from app.security.redact import redact
from app.services.vault.closing import words

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange
    from app.gateway.wire import Json
    from app.services.trace_record import TraceRecord

Form = Callable[["Exchange", "TraceRecord"], str]
SAME: Final = ("id", "request_id", "operation", "provider", "model", "status", "http_status", "stream", "attempts")
PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/+@,")


def fields(record: TraceRecord) -> Json:
    """What a line tells of a call: milliseconds, dollars, nothing where nothing is known; keys in texts are hidden."""
    told: Json = {"time": _moment(record).isoformat(timespec="milliseconds")}
    told |= {name: getattr(record, name) for name in SAME}
    told |= {"duration_ms": record.duration_us / 1000}
    told |= {"first_byte_ms": None if record.first_byte_us is None else record.first_byte_us / 1000}
    told |= {"tokens_in": record.tokens_in, "tokens_out": record.tokens_out}
    told |= {"cost_usd": None if record.cost_nano is None else usd(record.cost_nano)}
    told |= {"user_id": record.user_id, "key_id": record.key_id, "project": record.project, "tags": dict(record.tags)}
    bodies = {"request": record.request_body, "response": record.response_body}
    told |= {name: words(body) for name, body in bodies.items() if body is not None}
    return told | ({"error": redact(record.error)} if record.error else {})


def as_json(_exchange: Exchange, record: TraceRecord) -> str:
    """A JSON object."""
    return orjson.dumps(fields(record)).decode()


def as_logfmt(_exchange: Exchange, record: TraceRecord) -> str:
    """`name=value` pairs; what is no plain word is in quotes, as in JSON."""
    told = {name: value for name, value in fields(record).items() if value not in (None, {})}
    return " ".join(f"{name}={_word(value)}" for name, value in told.items())


def as_combined(exchange: Exchange, record: TraceRecord) -> str:
    """The combined log format of web servers; bodies have no place in it."""
    call = exchange.call
    who = f"user:{record.user_id}" if record.user_id is not None else "-"
    asked = f"{call.operation.method.upper()} {call.operation.path} HTTP/1.1"
    size, agent = len(exchange.response or b""), call.headers.get("user-agent", "-")
    when = f"{_moment(record):%d/%b/%Y:%H:%M:%S %z}"
    return f'{call.client or "-"} - {who} [{when}] {_quoted(asked)} {record.http_status} {size} "-" {_quoted(agent)}'


FORMS: Final[Mapping[str, Form]] = {"json": as_json, "logfmt": as_logfmt, "combined": as_combined}


def _moment(record: TraceRecord) -> datetime:
    return datetime.fromtimestamp(record.created_at / 1_000_000, UTC)


def _word(value: Any) -> str:
    """A value as one word: nothing a caller writes begins a field, or a line, of its own."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if text and PLAIN.issuperset(text) else _quoted(text)


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
