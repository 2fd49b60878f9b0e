"""Settling: what a finished call cost, and its record: the same for plain, streamed, failed and cancelled ones."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import orjson

from app.gateway.exchange import Exchange
from app.gateway.money import LARGEST, cost, usd_text
from app.gateway.prices.table import PriceTable
from app.gateway.providers.openai.wire import NEVER_FORWARDED
from app.gateway.usage import estimate_input
from app.gateway.wire import Kind, Usage
from app.problems import Problem
from app.security.redact import redact
from app.services.trace_record import TraceRecord

OPERATIONS: Final = {
    Kind.CHAT: "chat.completion",
    Kind.COMPLETIONS: "text.completion",
    Kind.EMBEDDINGS: "embedding",
}
NOTHING = Usage()
LONGEST_ERROR = 1000


def priced(exchange: Exchange, prices: PriceTable) -> None:
    """Work out the cost; an unknown price stays None, never 0.

    A cache hit costs nothing and says what it saved; what a module answers by itself costs nothing either.
    """
    if exchange.cached or exchange.made is not None:
        exchange.cost_nano = 0
        return
    usage = exchange.usage
    if usage is None:
        exchange.cost_nano = 0  # nothing was delivered, and nothing reported
        return
    price = prices.find(exchange.provider, exchange.model)
    exchange.cost_nano = min(cost(usage, price), LARGEST) if price else None


def estimated(exchange: Exchange, output_tokens: int) -> Usage:
    """The usage of a call whose provider reported none: what was sent in, and what had arrived by then."""
    return Usage(input=estimate_input(exchange.body), output=output_tokens, reported=False)


def failed(exchange: Exchange, problem: Problem) -> None:
    """Mark the exchange as refused by us or a provider; one of several given up for another says so instead."""
    if exchange.fan is not None and exchange.fan.mark(exchange):
        return
    exchange.status = "error"
    exchange.http_status = problem.status
    exchange.error = problem.message[:LONGEST_ERROR]


def record(exchange: Exchange, most_bytes: int, *, redacted: bool = False) -> TraceRecord:
    """The trace of a settled exchange; bodies are kept up to `most_bytes` each, none at 0, or without keys in them."""
    tidy = _without_keys if redacted else bytes
    usage = exchange.usage or NOTHING
    principal = exchange.call.principal
    return TraceRecord(
        id=exchange.id,
        created_at=exchange.created_at,
        request_id=exchange.call.request_id,
        operation=OPERATIONS[exchange.kind],
        provider=exchange.provider,
        model=exchange.model,
        status=exchange.status,
        parent_id=exchange.context.span if exchange.context else None,
        http_status=exchange.http_status,
        error=exchange.error,
        stream=exchange.stream,
        attempts=exchange.attempts,
        duration_us=exchange.elapsed_us,
        first_byte_us=exchange.first_byte_us,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        tokens_cached=usage.cache_read,
        tokens_reasoning=usage.reasoning,
        usage_source="reported" if usage.reported else "estimated",
        cost_nano=exchange.cost_nano,
        saved_nano=exchange.saved_nano,
        user_id=principal.user_id,
        key_id=principal.key_id,
        project=exchange.project,
        tags=exchange.tags,
        details=exchange.details,
        request_body=tidy(_asked(exchange))[:most_bytes] if most_bytes else None,
        response_body=tidy(exchange.response)[:most_bytes] if most_bytes and exchange.response else None,
    )


def _without_keys(body: bytes) -> bytes:
    return redact(body.decode("utf-8", "replace")).encode()


def _asked(exchange: Exchange) -> bytes:
    """The request as it came; neither what a caller must not choose, such as a key in the body, nor what was hidden."""
    asked = exchange.body if exchange.hidden else exchange.call.body
    if NEVER_FORWARDED.isdisjoint(asked) and not exchange.hidden:
        return exchange.call.raw
    return orjson.dumps({name: value for name, value in asked.items() if name not in NEVER_FORWARDED})


def headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """What a plain answer tells of itself: cost, cache, provider, attempts, time."""
    usage = exchange.usage or NOTHING
    told = [
        *identity(exchange),
        (b"x-stockyard-tokens-in", b"%d" % usage.tokens_in),
        (b"x-stockyard-tokens-out", b"%d" % usage.tokens_out),
        (b"x-stockyard-latency-ms", b"%d" % (exchange.elapsed_us // 1000)),
    ]
    if exchange.cost_nano is not None:
        told += _cost(exchange.cost_nano)
    return told


@lru_cache(maxsize=1024)  # calls alike cost the same
def _cost(nano: int) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-stockyard-cost", usd_text(nano).encode()),
        (b"x-stockyard-cost-cents", usd_text(nano * 100, 4).encode()),
    ]


def identity(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """What is known before the first byte of an answer."""
    who = exchange.label.headers(exchange) if exchange.label else _who(exchange)
    return [
        *who,
        (b"x-stockyard-trace-id", exchange.id.encode()),
        (b"x-stockyard-attempts", b"%d" % exchange.attempts),
        (b"x-stockyard-cached", b"true" if exchange.cached else b"false"),
        (b"x-stockyard-cache", b"HIT" if exchange.cached else b"MISS"),
    ]


def _who(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-stockyard-provider", exchange.provider.encode()),
        (b"x-stockyard-model", exchange.model.encode("latin-1", "replace")),
    ]
