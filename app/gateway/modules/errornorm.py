"""Error normalisation: providers' refusals under the statuses an operator chose, and with their own words if wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from app.gateway.failures import NEVER_RETRY, passing
from app.gateway.steps import Module, Steps
from app.problems import CODES, Problem
from app.security.redact import redact

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange
    from app.gateway.failures import FailureError
    from app.gateway.wire import Target

# Beside `provider` and `provider_status` in the details of an error.
ORIGINAL: Final = "provider_message"
LONGEST: Final = 500
UNAUTHORIZED, CONFLICT, SERVERS_FAULT = 401, 409, 500
# What these statuses say when to come back by.
WAITING: Final = frozenset({429, 503})


class Errornorm(Module):
    """What is repeated, where it goes and which circuits open was decided before, by the provider's own status."""

    COUNTS = ("mapped", "quoted")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Once for each provider that is given up: its last refusal may be what the caller is told."""
        statuses = {int(theirs): int(ours) for theirs, ours in settings["status_map"].items()}
        if not statuses and not settings["keep_original"]:
            return Steps()
        return Steps(failed=partial(self._tell, statuses, settings["keep_original"]))

    def _tell(
        self, statuses: Mapping[int, int], keep: bool, _exchange: Exchange, target: Target, failure: FailureError
    ) -> None:
        own = failure.problem.details.get("provider_status")
        if own is None:  # it never answered, or what it answered is no refusal
            return
        if keep and failure.said:
            failure.problem.details[ORIGINAL] = redact(failure.said, target.key)[:LONGEST]
            self.counted["quoted"] += 1
        if (ours := statuses.get(own)) is not None:
            failure.problem = mapped(failure, own, ours)
            self.counted["mapped"] += 1


def mapped(failure: FailureError, own: int, status: int) -> Problem:
    """The same refusal under another status, its type and code too, as far as the provider gave no code of its own."""
    problem = failure.problem
    code = None if problem.code == CODES.get(problem.status) else problem.code
    details = {name: value for name, value in problem.details.items() if name != "type"}
    return Problem(status, problem.message, code=code, details=details, headers=_headers(failure, own, status))


def _headers(failure: FailureError, own: int, status: int) -> dict[str, str]:
    """What the status asks for; and that a repetition is vain where clients would make one and it is."""
    headers = dict(failure.problem.headers)
    if status in WAITING:
        headers.setdefault("retry-after", str(max(1, math.ceil(failure.wait or 1))))
    if status == UNAUTHORIZED:
        headers.setdefault("www-authenticate", "Bearer")
    vain = not passing(own) and (status in WAITING or status == CONFLICT or status >= SERVERS_FAULT)
    return headers | (NEVER_RETRY if vain else {})
