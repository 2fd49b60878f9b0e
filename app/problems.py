"""The one way this server says no: a Problem, worded neutrally and rendered by the operation's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    402: "payment_required",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    410: "gone",
    412: "precondition_failed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "unprocessable",
    429: "rate_limited",
    500: "internal_error",
    502: "provider_error",
    503: "unavailable",
    504: "provider_timeout",
}


@dataclass(frozen=True, slots=True)
class Issue:
    """One failed field: where (`body`, `query` or `path` first), which rule broke, and what the rule says.

    `rule` is a JSON Schema keyword; `expected` its value. The offending value itself is never kept: it may be a secret.
    """

    path: tuple[str | int, ...]
    rule: str
    expected: Any = None
    received: str = ""


class Problem(Exception):  # noqa: N818 (it is the field's word, and no defect)
    """A refusal: an HTTP status, a code, a sentence, and the fields it is about."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        issues: tuple[Issue, ...] = (),
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or CODES.get(status, HTTPStatus(status).name.lower())
        self.issues = issues
        self.details = dict(details or {})
        self.headers = dict(headers or {})


def not_found(what: str) -> Problem:
    """404: no such thing, or not the caller's to see."""
    return Problem(404, f"{what} not found")


def conflict(message: str, **details: Any) -> Problem:
    """409: the request contradicts what is stored."""
    return Problem(409, message, details=details)


def forbidden(message: str) -> Problem:
    """403: known, but not allowed."""
    return Problem(403, message)


def unauthorized(message: str, *, challenge: str = "Bearer") -> Problem:
    """401: no credential, or one that is not valid (RFC 9110 §15.5.2 wants a challenge)."""
    return Problem(401, message, headers={"www-authenticate": challenge})


def invalid(*issues: Issue) -> Problem:
    """The dialect's validation status, with every failed field; the renderer picks 400 or 422."""
    return Problem(400, "Validation failed", code="validation_failed", issues=issues)


def malformed(message: str) -> Problem:
    """400: the body or the URL cannot be read at all."""
    return Problem(400, message, code="malformed_json")
