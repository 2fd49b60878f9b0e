"""Quotas: what providers say in the headers of their answers of the calls and tokens that are left."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Final

REQUESTS, TOKENS = "requests", "tokens"
# What is counted, how its headers are called, and whether it fills up by and by: OpenAI's and Anthropic's do, and their
# `reset` is when they are full; the others (draft-ietf-httpapi-ratelimit-headers) begin anew at their `reset`.
FORMS: Final = (
    (REQUESTS, "x-ratelimit-{}-requests", True),
    (TOKENS, "x-ratelimit-{}-tokens", True),
    (REQUESTS, "anthropic-ratelimit-requests-{}", True),
    (TOKENS, "anthropic-ratelimit-tokens-{}", True),
    (TOKENS, "anthropic-ratelimit-input-tokens-{}", True),
    (REQUESTS, "ratelimit-{}", False),
    (REQUESTS, "x-ratelimit-{}", False),
)
PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")
SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# A larger number is a moment in Unix time, in seconds or milliseconds, and no time to wait.
MOMENT, MILLISECONDS = 1e9, 1e12
LONGEST_S: Final = 86_400.0
# What a quota that is full, and says nothing of its pace, is taken to be for.
MINUTE_S: Final = 60.0


@dataclass(slots=True)
class Quota:
    """One quota: its size, what was left `at` a moment of the caller's clock, what comes back in a second until then.

    `rate` 0: nothing comes back until the quota begins anew, at `ends`.
    """

    what: str
    limit: float
    remaining: float
    at: float
    rate: float
    ends: float

    def left(self, moment: float) -> float:
        """What is left by now; less than nothing once more calls were let go than there was room for."""
        if self.rate:
            return min(self.limit, self.remaining + self.rate * (moment - self.at))
        return self.limit if moment >= self.ends else self.remaining

    def take(self, much: float, moment: float) -> None:
        """Count what a call will use, until the provider says how much it was."""
        self.remaining, self.at = self.left(moment) - much, moment

    def wait(self, much: float, margin: float, moment: float) -> float:
        """Seconds until a call may take so much and the margin, a share of the quota, is still left."""
        floor = self.limit * margin
        missing = min(much, self.limit - floor) + floor - self.left(moment)
        if missing <= 0:
            return 0.0
        return missing / self.rate if self.rate else self.ends - moment


def read(headers: Mapping[str, str], moment: float) -> Iterator[Quota]:
    """The quotas an answer tells of; what cannot be read is none. Header names are in lower case."""
    for what, form, gradual in FORMS:
        limit, left = (_number(headers.get(form.format(name), "")) for name in ("limit", "remaining"))
        reset = seconds(headers.get(form.format("reset"), ""))
        if limit and left is not None and reset is not None:
            left = min(left, limit)
            pace = (limit - left) / reset if left < limit and reset else limit / MINUTE_S
            yield Quota(what, limit, left, moment, pace if gradual else 0.0, moment + reset)


def seconds(text: str) -> float | None:
    """Seconds of a `reset`: `6m0s`, `120ms`, `30`, a moment in Unix time or RFC 3339; None when it says nothing."""
    text = text.strip()
    if parts := PART.findall(text):
        whole = "".join(f"{number}{unit}" for number, unit in parts) == text
        return _bounded(sum(float(number) * SECONDS[unit] for number, unit in parts)) if whole else None
    number = _number(text)
    if number is None:
        return _until(text)
    if number >= MOMENT:
        number = number / (1_000 if number >= MILLISECONDS else 1) - time()
    return _bounded(number)


def _until(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _bounded((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _bounded(wait: float) -> float:
    return min(max(0.0, wait), LONGEST_S)


def _number(text: str) -> float | None:
    """A finite number of 0 or more; the first of a list, as `100, 100;w=60`."""
    try:
        number = float(text.partition(",")[0].partition(";")[0])
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
