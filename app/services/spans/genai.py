"""A stored call as a span, by OpenTelemetry's semantic conventions for generative AI, in OTLP's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson

from app.gateway import tracing
from app.gateway.money import usd
from app.security.redact import redact
from app.services.vault.closing import plain
from models.base import micros
from models.traces import Trace, TraceBody

Json = dict[str, Any]
CLIENT, FAILED = 3, 2
OPERATIONS: Final[Mapping[str, str]] = {
    "chat.completion": "chat",
    "text.completion": "text_completion",
    "embedding": "embeddings",
}
# The registry's well-known values of `gen_ai.provider.name` where they are other than our own names.
PROVIDERS: Final[Mapping[str, str]] = {
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "xai": "x_ai",
    "azure": "azure.ai.openai",
    "moonshot": "moonshot_ai",
}
TRACE_DIGITS: Final = 32
PREFIX: Final = "tr_"
LONGEST_ERROR: Final = 300


def span(trace: Trace, body: TraceBody | None = None) -> Json | None:
    """The span of a call, with messages when its body is given and not sealed; None of one not sampled, or not real."""
    context = _context(trace.details)
    if trace.source != "real" or (context and not int(context.flags, 16) & 1) or _left_out(trace.details):
        return None
    own = _own(trace.id)
    begun = micros(trace.created_at) * 1_000
    told: Json = {
        "traceId": context.trace if context else own,
        "spanId": tracing.span_of(own),
        "name": f"{_operation(trace)} {trace.model}".strip(),
        "kind": CLIENT,
        "startTimeUnixNano": str(begun),
        "endTimeUnixNano": str(begun + trace.duration_us * 1_000),
        "attributes": [_attribute(name, value) for name, value in _attributes(trace, body) if value not in (None, "")],
        "status": {},
    }
    if context:
        told |= {"parentSpanId": context.span} | ({"traceState": context.state} if context.state else {})
    if trace.status == "error":
        told["status"] = {"code": FAILED, "message": redact(plain(trace.error))[:LONGEST_ERROR]}
    return told


def request(spans: list[Json], resource: Mapping[str, str], version: str) -> bytes:
    """The body of an export (ExportTraceServiceRequest)."""
    source = {"attributes": [_attribute(name, value) for name, value in resource.items()]}
    scope = {"name": "yardmaster.gateway", "version": version}
    return orjson.dumps({"resourceSpans": [{"resource": source, "scopeSpans": [{"scope": scope, "spans": spans}]}]})


def _context(details: Any) -> tracing.Context | None:
    """The caller's place in its trace, as the call kept it."""
    if not isinstance(details, dict):
        return None
    headers = {name: str(details[name]) for name in ("traceparent", "tracestate") if name in details}
    return tracing.read(headers) if "traceparent" in headers else None


def _left_out(details: Any) -> bool:
    """Whether the sampling of `tracelink` passed this call over."""
    return isinstance(details, dict) and tracing.SAMPLED_OUT in details


def _own(id_: str) -> str:
    """32 hex digits that are the call's: those of its id, or a digest of one that somebody else gave it."""
    digits = id_.removeprefix(PREFIX)
    plain = len(digits) == TRACE_DIGITS and not set(digits) - set("0123456789abcdef")
    return digits if plain else blake2b(id_.encode(), digest_size=TRACE_DIGITS // 2).hexdigest()


def _operation(trace: Trace) -> str:
    return OPERATIONS.get(trace.operation, trace.operation)


def _attributes(trace: Trace, body: TraceBody | None) -> Iterable[tuple[str, Any]]:
    yield "gen_ai.operation.name", _operation(trace)
    yield "gen_ai.provider.name", PROVIDERS.get(trace.provider, trace.provider)
    yield "gen_ai.request.model", trace.model
    yield "gen_ai.usage.input_tokens", trace.tokens_in
    yield "gen_ai.usage.output_tokens", trace.tokens_out
    yield "gen_ai.usage.cache_read.input_tokens", trace.tokens_cached or None
    yield "error.type", str(trace.http_status) if trace.status == "error" else None
    yield "http.response.status_code", trace.http_status
    yield "yardmaster.trace_id", trace.id
    yield "yardmaster.request_id", trace.request_id
    yield "yardmaster.project", trace.project
    yield "yardmaster.user_id", trace.user_id
    yield "yardmaster.attempts", trace.attempts
    yield "yardmaster.stream", trace.stream
    yield "yardmaster.cache_hit", trace.status == "cache_hit"
    yield "yardmaster.cost_usd", None if trace.cost_nano is None else usd(trace.cost_nano)
    yield "yardmaster.time_to_first_token_s", None if trace.first_byte_us is None else trace.first_byte_us / 1_000_000
    if body is not None:
        yield "gen_ai.input.messages", _messages(_read(body.request).get("messages"))
        choices = _read(body.response).get("choices")
        yield "gen_ai.output.messages", _messages([c.get("message") for c in choices or () if isinstance(c, dict)])


def _read(raw: bytes | None) -> Json:
    """A kept body; nothing when it was cut."""
    try:
        found = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _messages(said: Any) -> str | None:
    """Messages in the conventions' form, as JSON: a role, and parts of text."""
    if not isinstance(said, list) or not said:
        return None
    found = [{"role": str(m.get("role", "")), "parts": _parts(m.get("content"))} for m in said if isinstance(m, dict)]
    return redact(orjson.dumps(found).decode())


def _parts(content: Any) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    listed = content if isinstance(content, list) else []
    return [
        {"type": "text", "content": str(part["text"])} for part in listed if isinstance(part, dict) and "text" in part
    ]


def _attribute(name: str, value: Any) -> Json:
    """OTLP's JSON writes 64-bit integers as strings."""
    if isinstance(value, bool):
        return {"key": name, "value": {"boolValue": value}}
    if isinstance(value, int):
        return {"key": name, "value": {"intValue": str(value)}}
    if isinstance(value, float):
        return {"key": name, "value": {"doubleValue": value}}
    return {"key": name, "value": {"stringValue": str(value)}}
