"""One model call on its way through the gateway: what was asked, what is known of the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter, time_ns
from typing import TYPE_CHECKING

import orjson

from app.gateway.wire import Json, Kind, Usage
from app.services.trace_record import trace_id

if TYPE_CHECKING:
    from app.wire.call import Call


@dataclass(slots=True)
class Exchange:
    """The state of one call. Modules read and change it before and after the provider is asked.

    `model` starts as the caller's and may be replaced by an alias; `asked` stays what the caller wrote.
    """

    call: Call
    kind: Kind
    body: Json = field(repr=False)
    asked: str = ""
    model: str = ""
    project: str = "default"
    tags: dict[str, str] = field(default_factory=dict)
    wanted_provider: str = ""
    id: str = field(default_factory=trace_id)
    began: float = field(default_factory=perf_counter)
    created_at: int = field(default_factory=lambda: time_ns() // 1000)
    provider: str = ""
    attempts: int = 0
    stream: bool = False
    usage: Usage | None = None
    cost_nano: int | None = None
    saved_nano: int = 0
    status: str = "ok"
    http_status: int = 200
    error: str | None = None
    first_byte_us: int | None = None
    cache_key: bytes | None = None
    cached: bool = False
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    response: bytes | None = field(default=None, repr=False)
    details: dict[str, object] = field(default_factory=dict)

    @property
    def elapsed_us(self) -> int:
        """Microseconds since the call began."""
        return int((perf_counter() - self.began) * 1_000_000)


def begin(call: Call, kind: Kind) -> Exchange:
    """The exchange of a validated call; headers say project, tags and provider (their values were checked)."""
    arguments, body = call.arguments, call.body
    model = body["model"]
    exchange = Exchange(call, kind, body, asked=model, model=model)
    exchange.project = arguments.get("x_project") or "default"
    exchange.wanted_provider = (arguments.get("x_provider") or "").lower()
    exchange.stream = kind is not Kind.EMBEDDINGS and body.get("stream") is True
    if raw := arguments.get("x_stockyard_tags"):
        exchange.tags = read_tags(raw)
    return exchange


MOST_TAGS = 16
TAG_LENGTH = 64


def read_tags(text: str) -> dict[str, str]:
    """Tags from `k=v,…` or a JSON object of strings; what is neither is no tag, and at most 16 are kept."""
    try:
        found = (
            orjson.loads(text)
            if text.lstrip().startswith("{")
            else dict(p.split("=", 1) for p in text.split(",") if "=" in p)
        )
    except ValueError:
        return {}
    pairs = [(str(k).strip(), str(v).strip()) for k, v in found.items()]
    return {k[:TAG_LENGTH]: v[:TAG_LENGTH] for k, v in pairs[:MOST_TAGS] if k and "=" not in k}
