"""Rate shield: how many calls a key, user, project or address may make, exact in one worker and shared between many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

from limits import RateLimitItemPerMinute

from app.gateway.buckets import Buckets, Level
from app.wire.limits import Limits, Rate, Rule, exceeded

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange

SUBJECTS: Mapping[str, Callable[[Exchange], str]] = {
    "api_key": lambda x: x.call.principal.subject,
    "user": lambda x: f"user:{x.call.principal.user_id}" if x.call.principal.user_id else x.call.principal.subject,
    "project": lambda x: f"project:{x.call.principal.user_id}:{x.project}",
    "ip": lambda x: f"ip:{x.call.client}",
}


class Shield:
    """Token buckets while this worker is alone; a window in the shared store when there are others."""

    def __init__(self, counter: Limits) -> None:
        self._limits = counter
        self._buckets = Buckets()
        self.admitted = 0
        self.refused = 0

    async def admit(self, exchange: Exchange, settings: Mapping[str, Any]) -> None:
        """Count the call; Problem 429 with the wait when there is no room."""
        if not self._limits.enabled:
            return
        subject = SUBJECTS[settings["per"]](exchange)
        if self._limits.local:
            level = self._buckets.take(subject, settings["rpm"] / 60, settings["burst"])
        else:
            rule = Rule((RateLimitItemPerMinute(settings["rpm"]),), ("subject",))
            level = _level(await self._limits.hit(rule, "rateshield", subject))
        exchange.headers += told(level, settings["rpm"])
        self.admitted += level.admitted
        if not level.admitted:
            self.refused += 1
            problem = exceeded(Rate(settings["rpm"], 0, 0, 60, allowed=False))
            wait = max(1, ceil(level.wait))
            problem.message = f"Rate limit exceeded. Retry after {wait}s."
            problem.headers = {"retry-after": str(wait)} | {k.decode(): v.decode() for k, v in exchange.headers}
            raise problem


def _level(rate: Rate) -> Level:
    return Level(rate.allowed, rate.remaining, float(rate.retry_after), float(rate.retry_after))


def told(level: Level, rpm: int) -> list[tuple[bytes, bytes]]:
    """The headers OpenAI's clients and dashboards know; the reset in seconds, as `0.2s`."""
    return [
        (b"x-ratelimit-limit-requests", b"%d" % rpm),
        (b"x-ratelimit-remaining-requests", b"%d" % level.remaining),
        (b"x-ratelimit-reset-requests", b"%.1fs" % level.full_in),
    ]
