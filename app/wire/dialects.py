"""Ways to say no: each dialect's error body, as one function of a Problem."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from app.problems import Issue, Problem
from app.wire import wording

Json = dict[str, Any]
STACKFLOW_CODES = {
    "malformed_json": "MALFORMED_JSON",
    "validation_failed": "VALIDATION_ERROR",
    "bad_request": "VALIDATION_ERROR",
    "unprocessable": "BUSINESS_RULE_VIOLATION",
    "rate_limited": "RATE_LIMIT_EXCEEDED",
    "internal_error": "INTERNAL_SERVER_ERROR",
    "unavailable": "SERVICE_UNAVAILABLE",
    "conflict": "DUPLICATE_RECORD",
}
# How a form of the token endpoint is refused (RFC 6749 §5.2), by status.
OAUTH_CODES = {
    400: "invalid_request",
    401: "invalid_client",
    413: "invalid_request",
    415: "invalid_request",
    429: "temporarily_unavailable",
    500: "server_error",
    503: "temporarily_unavailable",
}
UNSAYABLE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")
COUNTS = frozenset({"minItems", "maxItems"})
OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
# By Anthropic's documentation of errors; other 4xx are invalid requests, other 5xx failures of the API.
ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
SERVERS_FAULT = 500
MALFORMED = frozenset({"malformed_json", "validation_failed"})


def nested(problem: Problem, _request_id: str) -> Json:
    """Stockyard: one object under `error`."""
    code = "bad_request" if problem.code in MALFORMED else problem.code
    body: Json = {"code": code, "message": _sentence(problem), "status": problem.status}
    details = dict(problem.details)
    if problem.issues:
        details["issues"] = [{"field": wording.dotted(i.path), "message": wording.plain(i)} for i in problem.issues]
    return {"error": body | ({"details": details} if details else {})}


def openai(problem: Problem, request_id: str) -> Json:
    """The gateway: Stockyard's object, with the `type` and `param` official SDKs read."""
    body = nested(problem, request_id)
    details = body["error"].get("details", {})
    body["error"]["type"] = details.pop("type", None) or OPENAI_TYPES.get(problem.status, "api_error")
    body["error"]["param"] = details.pop("param", None) or _first_field(problem.issues)
    if not details:
        body["error"].pop("details", None)
    return body


def anthropic(problem: Problem, request_id: str) -> Json:
    """The gateway's Messages: what official Anthropic SDKs read."""
    kind = ANTHROPIC_TYPES.get(
        problem.status, "invalid_request_error" if problem.status < SERVERS_FAULT else "api_error"
    )
    said: Json = {"type": kind, "message": _sentence(problem)}
    if original := problem.details.get("provider_message"):
        said["details"] = {"provider_message": original}
    return {"type": "error", "error": said, "request_id": request_id}


def flat(problem: Problem, _request_id: str) -> Json:
    """Stout: status, its phrase, and each failed field in Zod's words."""
    body: Json = {"statusCode": problem.status, "error": HTTPStatus(problem.status).phrase, "message": problem.message}
    listed = [{"path": [_place(i.path[0]), *i.path[1:]], "message": wording.zod(i)} for i in problem.issues]
    return body | ({"issues": listed} if listed else {}) | problem.details


def _place(part: str | int) -> str | int:
    """Stout says `params` for the path, as the framework of its clients' schemas does."""
    return "params" if part == "path" else part


def detail(problem: Problem, _request_id: str) -> Json:
    """Outsend: a sentence, and the failed fields when there are any."""
    errors = [{"field": wording.dotted(i.path[1:]), "message": wording.plain(i)} for i in problem.issues]
    return {"detail": problem.message} | ({"errors": errors} if errors else {})


def record(problem: Problem, request_id: str) -> Json:
    """StackFlow: flat, with a machine code, the request id and the time."""
    code = STACKFLOW_CODES.get(problem.code, problem.code.upper())
    if any(i.path == ("body", "records") and i.rule in COUNTS for i in problem.issues):
        code = "BULK_LIMIT_EXCEEDED"
    listed = [{"field": wording.dotted(i.path[1:]), "message": wording.plain(i)} for i in problem.issues]
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body: Json = {"error": problem.message, "code": code, "requestId": request_id, "timestamp": stamp}
    return body | ({"details": listed} if listed else {})


def oauth(problem: Problem, _request_id: str) -> Json:
    """The token endpoint: two fields that every OAuth client reads (RFC 6749 §5.2)."""
    unknown = any(i.path == ("body", "grant_type") and i.rule in {"const", "enum"} for i in problem.issues)
    code = "unsupported_grant_type" if unknown else OAUTH_CODES.get(problem.status, "invalid_request")
    return {"error": code, "error_description": UNSAYABLE.sub("'", _sentence(problem))}


def flat_detail(problem: Problem, request_id: str) -> Json:
    """Stout and Outsend at once: their fields do not meet."""
    return detail(problem, request_id) | flat(problem, request_id)


def nested_detail(problem: Problem, request_id: str) -> Json:
    """Stockyard and Outsend at once: their fields do not meet."""
    return detail(problem, request_id) | nested(problem, request_id)


def nested_flat_detail(problem: Problem, request_id: str) -> Json:
    """Three at once. `error` is Stockyard's object; Stout's clients show `message` before they look at it."""
    return flat_detail(problem, request_id) | nested(problem, request_id)


Renderer = Callable[[Problem, str], Json]
SINGLE = (nested, openai, anthropic, flat, detail, record, oauth)
MERGED = (flat_detail, nested_detail, nested_flat_detail)
ENVELOPES: Mapping[str, Renderer] = {f.__name__: f for f in (*SINGLE, *MERGED)}


def _sentence(problem: Problem) -> str:
    """Stockyard shows one message: with issues, it must name the first field itself."""
    if not problem.issues:
        return problem.message
    first, rest = problem.issues[0], len(problem.issues) - 1
    more = f" (and {rest} more)" if rest else ""
    return f"{wording.dotted(first.path)} {wording.plain(first)}{more}"


def _first_field(issues: tuple[Issue, ...]) -> str | None:
    return wording.dotted(issues[0].path[1:]) or None if issues else None
