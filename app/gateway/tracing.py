"""A caller's distributed trace (W3C Trace Context): read from the call, and carried on to the provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from app.gateway.wire import Outgoing
from app.runtime import runtime

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange

# Of version 00; a later one may have more behind it (W3C Trace Context §3.2.2).
PARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.{0,200})?\Z"
)
STATE: Final = re.compile(r"[\x20-\x7e]{1,512}\Z")
FIRST: Final = "00"
SPAN_DIGITS: Final = 16
SAMPLED, UNSAMPLED = "01", "00"
OFF, ALWAYS = "off", "always"
# Noted in a call's details when it is left out of what is traced.
SAMPLED_OUT: Final = "unsampled"


class Context(NamedTuple):
    """The caller's place in its trace. `state` is other vendors' (§3.3), passed on as it came."""

    trace: str
    span: str
    flags: str
    state: str = ""


def read(headers: Mapping[str, str]) -> Context | None:
    """The context in a call's headers; None without one, or with one that breaks the rules (§4.3 wants it ignored)."""
    sent = PARENT.match(headers["traceparent"])
    if sent is None or (sent[1] == FIRST and sent[5]):
        return None
    state = headers.get("tracestate", "")
    return Context(sent[2], sent[3], sent[4], state if STATE.match(state) else "")


def span_of(id_: str) -> str:
    """The span a call is in its trace: the random end of its own id."""
    return id_[-SPAN_DIGITS:]


def linked(exchange: Exchange, outgoing: Outgoing) -> Outgoing:
    """The request with the caller's trace carried on; with one of our own where the setting says so."""
    policy = exchange.link or runtime().settings.trace_propagation
    context = exchange.context
    if policy == OFF or (context is None and policy != ALWAYS):
        return outgoing
    own = UNSAMPLED if SAMPLED_OUT in exchange.details else SAMPLED
    trace, flags = (context.trace, context.flags) if context else (exchange.id[3:], own)
    told = {"traceparent": f"{FIRST}-{trace}-{span_of(exchange.id)}-{flags}"}
    state = {"tracestate": context.state} if context and context.state else {}
    return replace(outgoing, headers={**outgoing.headers, **told, **state})
