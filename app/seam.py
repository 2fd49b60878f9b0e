"""The seam between the document and its handlers: finds each handler and dresses it once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import flask
import orjson
from flask_limiter import Limiter
from flask_limiter.errors import RateLimitExceeded

from app.http import Answer, transact
from app.spec.operations import Operation, SpecError
from app.wire import limits
from app.wire.call import Call, current

READS = frozenset({"get", "head"})


def handler_of(operation: Operation) -> Callable[..., Any]:
    """The function named by the operation's id (or by what it is an alias of) in its group's module."""
    name = operation.raw.get("x-alias-of", operation.id)
    try:
        return getattr(import_module(operation.module), name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise SpecError(f"{operation.id} has no handler: {operation.module}.{name} ({error})") from error


def arguments(call: Call) -> dict[str, Any]:
    """The call's validated parameters, and its body where the operation has one, as keyword arguments."""
    return call.arguments | ({"body": call.body} if "requestBody" in call.operation.raw else {})


def dress(operation: Operation, limiter: Limiter) -> Callable[..., flask.Response]:
    """The handler inside one transaction, its result as a response; limited where the document says so."""
    handler = handler_of(operation)
    write = operation.method not in READS
    own = operation.raw.get("x-transaction") == "own"
    status = _success(operation)

    def dressed(**_: Any) -> flask.Response:
        with nullcontext() if own else transact(write=write):
            result = handler(**arguments(current()))
        return _response(result, status)

    dressed.__name__ = operation.id
    dressed.__wrapped__ = _bare  # type: ignore[attr-defined]
    return _limited(dressed, operation, limiter)


def _bare() -> None:
    """What Connexion takes for the handler's signature, so that it reads neither body nor query for it."""


def _success(operation: Operation) -> int:
    return min(int(s) for s in operation.raw["responses"] if s.startswith("2"))


def _response(result: Any, status: int) -> flask.Response:
    answer = result if isinstance(result, Answer) else Answer(result)
    body = answer.body
    if body is not None and not isinstance(body, (bytes, str)):
        body = orjson.dumps(body)
    response = flask.Response(body, answer.status or status, dict(answer.headers), mimetype=answer.media_type)
    for cookie in answer.cookies:
        response.headers.add("Set-Cookie", cookie)
    if body is None:
        del response.headers["Content-Type"]
    return response


def _limited(function: Callable[..., flask.Response], operation: Operation, limiter: Limiter) -> Callable[..., Any]:
    if operation.limit in {"", "exempt"}:
        return function
    rule = limits.parse(operation.limit)
    amounts, scope = operation.limit.partition(";")[0], operation.raw.get("x-limit-pool", operation.id)
    counted = limiter.shared_limit(
        amounts, scope, key_func=lambda: _key(scope, rule), exempt_when=lambda: current().principal.is_admin
    )
    dressed: Callable[..., Any] = counted(function)
    return dressed


KEYS: dict[str, Callable[[Call], str]] = {
    "ip": lambda call: call.client,
    "principal": lambda call: call.principal.subject,
    "email": lambda call: str((call.body or {}).get("email", "")).strip().lower(),
}


def _key(scope: str, rule: limits.Rule) -> str:
    call = current()
    return ":".join([scope, *(KEYS[name](call) for name in rule.keys)])


def say_limited(error: RateLimitExceeded, limiter: Limiter) -> Any:
    """Flask-Limiter's refusal as ours, with the wait it knows."""
    held = limiter.current_limit
    reset, remaining = (held.reset_at, held.remaining) if held else (0, 0)
    rate = limits.Rate(error.limit.limit.amount, remaining, reset, error.limit.limit.get_expiry(), allowed=False)
    current().rate = rate
    raise limits.exceeded(rate)
