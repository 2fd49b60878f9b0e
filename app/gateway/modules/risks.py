"""Risks: what makes a call one that a person is asked about, and how much of it that person is shown."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from app.gateway.exchange import Exchange
from app.gateway.modules.accounts import account_of
from app.gateway.modules.bodies import role_of, texts
from app.gateway.modules.conditions import Among, among, bare, dearest, models
from app.gateway.modules.promptguard import KINDS, is_card
from app.gateway.money import nano_from_usd
from app.gateway.patterns import Linear, linear
from app.gateway.wire import Json
from app.security.redact import redact

PATTERN, COST, SCOPE = "pattern", "cost", "scope"
TENANT: Final = "x-tenant-id"
DELIVERY: Final = frozenset({"stream", "stream_options"})
# Characters before and after a finding that are looked through for what must not be shown.
AROUND: Final = 8_000
# What stands at a cut end of that may be half of something, which nobody can tell.
EDGE: Final = 512
CUT: Final = "…"


@dataclass(frozen=True, slots=True)
class Risk:
    """Why a person is asked: what was found where in which text, and the most the call may cost, if that is known."""

    reason: str
    rule: str = ""
    text: str = field(default="", repr=False)
    at: int = 0
    end: int = 0
    cost: int | None = None


class Watch:
    """Finds the risk of a call under some settings. `idle` when no call can have any."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._patterns = [linear(pattern, ignore_case=True) for pattern in settings["patterns"] if pattern]
        self._latest = settings["look_into"] == "latest"
        self._above = nano_from_usd(float(settings["min_cost"]))
        self._unpriced = settings["unpriced"] == "hold"
        self._models, self._projects = _globs(settings["models"]), _globs(settings["projects"])
        self._all = not self._patterns and not self._above
        self.idle = self._all and not settings["models"] and not settings["projects"]

    async def risk(self, exchange: Exchange) -> Risk | None:
        """Why a person is to be asked; None when there is no reason."""
        if not self._concerns(exchange):
            return None
        found = self._found(exchange.body)
        cost = await _cost(exchange) if found or self._all or self._above else None
        if found:
            pattern, text, span = found
            return Risk(PATTERN, pattern.source, text, *span, cost)
        if self._all or (self._above and (self._unpriced if cost is None else cost >= self._above)):
            return Risk(SCOPE if self._all else COST, text=_last(exchange.body), cost=cost)
        return None

    def _concerns(self, exchange: Exchange) -> bool:
        asked = (name for names in models(exchange) for name in bare(names))
        return self._projects([exchange.project]) and self._models(asked)

    def _found(self, body: Json) -> tuple[Linear, str, tuple[int, int]] | None:
        for text in texts(_latest(body) if self._latest else body):
            for pattern in self._patterns:
                if (found := pattern.match.search(text)) is not None:
                    return pattern, text, found.span()
        return None


def _globs(given: list[str]) -> Among:
    return among(given) if given else lambda _: True


def _latest(body: Json) -> Json:
    """The body with what was said after the model's last answer alone."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    answers = [role_of(message) == "assistant" for message in messages]
    # An answer at the end is none: it is begun by the caller, for the model to go on with.
    said = [at for at in range(1, len(messages)) if answers[at - 1] and not answers[at]]
    return {**body, "messages": messages[said[-1] :]} if said else body


def _last(body: Json) -> str:
    """The last text of the body."""
    return next(iter(reversed(list(texts(body)))), "")


async def _cost(exchange: Exchange) -> int | None:
    """Nano-dollars that the call, to all the models it asks, cannot cost more than; None where a price is missing."""
    costs = [await dearest(exchange, names[-1]) for names in models(exchange)]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def fingerprint(exchange: Exchange, key: bytes) -> str:
    """A keyed digest of whose call it is and of all it asks, as it came and as it goes on, streamed or not."""
    call = exchange.call
    whose = [account_of(exchange), call.headers.get(TENANT, ""), exchange.project]
    asked = [exchange.kind, exchange.wanted_provider, models(exchange), _asked(call.body), _asked(exchange.body)]
    said = orjson.dumps(["approvalgate", whose, asked], option=orjson.OPT_SORT_KEYS)
    return hmac.digest(key, said, "sha256").hex()


def _asked(body: Json) -> Json:
    return {name: value for name, value in body.items() if name not in DELIVERY}


def preview(risk: Risk, most: int) -> str:
    """A piece of the text around what was found, at most so long; nothing in it looks like a key or personal data."""
    begin, end = max(0, risk.at - AROUND), risk.at + AROUND
    around = risk.text[begin:end]
    # What is hidden before the finding moves it.
    shown, at = hidden(around), len(hidden(around[: risk.at - begin]))
    low = min(EDGE, at) if begin else 0
    high = len(shown) if end >= len(risk.text) else max(len(shown) - EDGE, at + risk.end - risk.at)
    first = max(low, min(at - most // 4, high - most))
    piece = shown[first : min(first + most, high)]
    front, back = begin + first > 0, first + most < len(shown) or end < len(risk.text)
    return f"{CUT * front}{piece}{CUT * back}" if piece else ""


def hidden(text: str) -> str:
    """The text with kinds of things in the place of those that are nobody's to read."""
    text = redact(text.replace("\0", ""))
    for kind, pattern in KINDS.items():
        text = linear(pattern).match.sub(lambda found, kind=kind: _stand_in(kind, found), text)
    return text


def _stand_in(kind: str, found: Any) -> str:
    return str(found.group()) if kind == "credit_card" and not is_card(found) else f"[{kind}]"
