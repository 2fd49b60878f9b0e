"""What is measured of finished calls, and for which observer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from app.services.observing import spreads
from app.services.observing.spreads import HOUR, MINUTE, Counts, Slot
from app.services.trace_record import TraceRecord

# Microseconds, tenths of a token for each second, tokens, nano-dollars; what an end, a stream's end and a refusal are
# numbered as.
LATENCY, FIRST, SPEED, TOKENS, COST = "latency", "first", "speed", "tokens", "cost"
END, STREAM_END, REFUSED = "end", "stream_end", "refused"
ANSWERED, FAILED, LEFT, CACHED = range(4)
REAL: Final = "real"
CLIENT_GONE: Final = 499
SERVER_FAULT: Final = 500
TENTHS: Final = 10_000_000
# Each model's hours, by observer.
HOURLY: Final[Mapping[str, tuple[str, ...]]] = {
    "streamsnap": (FIRST, SPEED, STREAM_END),
    "llmtap": (LATENCY, COST, END),
    "driftwatch": (LATENCY, TOKENS, REFUSED),
}
# What an answer says of itself when it was withheld, and how models begin when they decline. No caller's text can look
# like it: inside of JSON's strings a quotation mark is escaped.
DECLINED: Final = re.compile(
    rb'"finish_reason"\s*:\s*"content_filter"|"stop_reason"\s*:\s*"refusal"|"refusal"\s*:\s*"[^"]'
    rb"|\"(?:content|text)\"\s*:\s*\"(?:I(?:'|\xe2\x80\x99)?m sorry|I am sorry|Sorry|I can(?:no|(?:'|\xe2\x80\x99))t"
    rb"|I(?:'|\xe2\x80\x99)m (?:unable|not able)|I am (?:unable|not able)|I won(?:'|\xe2\x80\x99)t)\b",
    re.IGNORECASE,
)


def taken(rows: Iterable[TraceRecord], on: Mapping[str, Any]) -> dict[Slot, Counts]:
    """What the observers that are on take of these calls."""
    hourly = {measure for name, measures in HOURLY.items() if name in on for measure in measures}
    found: dict[Slot, Counts] = {}
    for row in rows:
        if row.source != REAL:
            continue
        ended = row.created_at + row.duration_us
        figures = list(_figures(row, refusals=REFUSED in hourly))
        for measure, number in figures:
            if measure in hourly:
                slot = Slot(HOUR, measure, spreads.slot_of(ended, HOUR), row.provider, row.model)
                found.setdefault(slot, Counter())[number] += 1
            if measure in {LATENCY, END} and "alertpulse" in on:
                slot = Slot(MINUTE, measure, spreads.slot_of(ended, MINUTE))
                found.setdefault(slot, Counter())[number] += 1
    return found


def end_of(row: TraceRecord) -> int | None:
    """How a call ended; None of one that was refused before anybody was asked, or given up for a faster answer."""
    if row.status == "cache_hit":
        return CACHED
    if row.http_status == CLIENT_GONE:
        return LEFT if row.status == "error" else None
    if row.status == "ok":
        return ANSWERED
    return FAILED if row.attempts or row.http_status >= SERVER_FAULT else None


def _figures(row: TraceRecord, *, refusals: bool) -> Iterator[tuple[str, int]]:
    """Each measure of a call with its bucket."""
    end = end_of(row)
    if end is None:
        return
    yield END, end
    if row.stream and end != CACHED and row.first_byte_us is not None:
        yield from _of_stream(row, row.first_byte_us, end)
    if end != ANSWERED:
        return
    yield LATENCY, spreads.bucket(row.duration_us)
    yield TOKENS, spreads.bucket(row.tokens_out)
    if row.cost_nano is not None:
        yield COST, spreads.bucket(row.cost_nano)
    if refusals and row.response_body:
        yield REFUSED, int(DECLINED.search(row.response_body) is not None)


def _of_stream(row: TraceRecord, first_us: int, end: int) -> Iterator[tuple[str, int]]:
    yield STREAM_END, end
    yield FIRST, spreads.bucket(first_us)
    took = row.duration_us - first_us
    if end == ANSWERED and took > 0 and row.tokens_out > 1:
        yield SPEED, spreads.bucket(row.tokens_out * TENTHS // took)
