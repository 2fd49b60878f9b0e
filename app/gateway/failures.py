"""How one attempt can fail, as what the caller is told and what may be done next."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from app.gateway.exchange import Exchange
from app.gateway.wire import (
    ForbiddenAddressError,
    NotConnectedError,
    Refusal,
    Target,
    UntranslatableError,
    UpstreamResponse,
)
from app.problems import Problem
from app.security.redact import redact

NEVER_RETRY = {"x-should-retry": "false"}
# The caller's own mistake: nobody else would answer it, and the provider is well.
CALLERS_FAULT = frozenset({400, 404, 409, 413, 415, 422})
OPERATORS_FAULT = frozenset({401, 402, 403})
# Refusals that pass with time; any other 4xx would be said again.
PASSING = frozenset({408, 425, 429})
TOO_MANY = 429
SUCCESS, REDIRECT, SERVERS_FAULT = 200, 300, 500
CODE = re.compile(r"[a-z_]{1,64}")
LONGEST_WAIT_S = 86_400.0


@dataclass(eq=False)
class FailureError(Exception):
    """One attempt failed.

    `again` allows a repetition there, after `wait` seconds if the provider said so; `elsewhere` another provider.
    `faulty` counts against the provider, `billable` means that it may have done the work, `unasked` that it was never
    sent the request. `said` is the provider's own message, when it refused.
    """

    problem: Problem
    again: bool = False
    elsewhere: bool = True
    faulty: bool = True
    billable: bool = False
    unasked: bool = False
    wait: float | None = None
    said: str = ""

    def __str__(self) -> str:
        return self.problem.message


def accepted(response: UpstreamResponse) -> bool:
    """Whether this may hold an answer. A redirect holds none: the key must not follow it to another host."""
    return SUCCESS <= response.status < REDIRECT


def refused(exchange: Exchange, target: Target, response: UpstreamResponse, raw: bytes) -> FailureError:
    """A provider's non-2xx as ours: the caller's mistakes keep their status and code, the rest is 429 or 502."""
    name, status = target.provider.name, response.status
    refusal = target.provider.wire.refusal(status, _scrubbed(raw, target))
    details = _told(name, status, refusal)
    said = f"{name}: {refusal.message}"
    if status in CALLERS_FAULT or (exchange.call.principal.secret and status in OPERATORS_FAULT):
        code = refusal.code if refusal.code and CODE.fullmatch(refusal.code) else None
        problem = Problem(status, said, code=code, details=details)
        return FailureError(problem, elsewhere=False, faulty=False, said=refusal.message)
    if status in OPERATORS_FAULT:
        message = f"{name} did not accept the key this server sent ({status})"
        problem = Problem(502, message, details=details, headers=NEVER_RETRY)
        return FailureError(problem, faulty=False, said=refusal.message)
    again = passing(status)
    wait = seconds(response.headers.get("retry-after"))
    if status == TOO_MANY:
        problem = Problem(429, said, details=details, headers={"retry-after": str(max(1, math.ceil(wait or 1)))})
    else:
        problem = Problem(502, f"{name} answered {status}: {refusal.message}", details=details)
    return FailureError(problem, again=again, faulty=again, wait=wait, said=refusal.message)


def passing(status: int) -> bool:
    """Whether a provider's refusal may pass with time."""
    return status in PASSING or status >= SERVERS_FAULT


def _told(name: str, status: int, refusal: Refusal) -> dict[str, object]:
    told = {"type": refusal.type, "param": refusal.param, "provider_code": refusal.code}
    return {"provider": name, "provider_status": status} | {k: v for k, v in told.items() if v}


def unanswered(target: Target, error: OSError) -> FailureError:
    """No answer, or half of one. Repeated only if nothing was sent: else the provider may have done the work."""
    if isinstance(error, ForbiddenAddressError):
        return FailureError(_of(target, 400, error), elsewhere=False, faulty=False, unasked=True)
    unsent = isinstance(error, NotConnectedError)
    return FailureError(_of(target, 502, error), again=unsent, billable=not unsent)


def timed_out(target: Target) -> FailureError:
    """Not repeated there: the provider may still be working on it, and would be paid twice."""
    problem = _of(target, 504, f"no answer within {target.provider.timeout:g} s")
    return FailureError(problem, billable=True)


def nonsense(target: Target, error: Exception) -> FailureError:
    """A 2xx that is no answer: not repeated there, for a 2xx is paid."""
    return FailureError(_of(target, 502, error), billable=True)


def impossible(error: ValueError) -> FailureError:
    """The request asks for what this provider cannot do: the caller's mistake, unless it is a stand-in."""
    problem = untranslatable(error) if isinstance(error, UntranslatableError) else Problem(400, str(error))
    return FailureError(problem, elsewhere=False, faulty=False, unasked=True)


def untranslatable(error: ValueError) -> Problem:
    """422: the request keeps the document's word, and still cannot be said to a provider; with the field, if known."""
    param = error.param if isinstance(error, UntranslatableError) else ""
    return Problem(422, str(error), details={"param": param} if param else {})


def _scrubbed(raw: bytes, target: Target) -> bytes:
    """What a provider said, without the key it was called with: some providers quote it."""
    return raw.replace(target.key.encode(), b"[redacted]") if target.key else raw


def _of(target: Target, status: int, said: object) -> Problem:
    name = target.provider.name
    return Problem(status, f"{name}: {redact(str(said), target.key)}", details={"provider": name})


def seconds(retry_after: str | None) -> float | None:
    """The wait in a `Retry-After`, seconds or a date (RFC 9110 §10.2.3), a day at most; None when it says nothing."""
    if not retry_after:
        return None
    try:
        wait = float(retry_after)
    except ValueError:
        wait = _until(retry_after)
    return None if math.isnan(wait) else min(max(0.0, wait), LONGEST_WAIT_S)


def _until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
