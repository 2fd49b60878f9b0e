"""The gate every request passes, on either plane: routing, limits, credentials, and how refusals are said."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from connexion.exceptions import ProblemException
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from app import runtime
from app.problems import Problem
from app.runtime import Runtime
from app.spec.operations import Match, Operation
from app.wire import dialects, identifiers, limits
from app.wire.call import Call, enter
from app.wire.replies import (
    App,
    Disconnected,
    Message,
    RawHeaders,
    Receive,
    Scope,
    Send,
    json_reply,
    send_reply,
    too_large,
)

log = logging.getLogger("yardmaster.gate")
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
CALL = "yardmaster.call"
# What a database raises that is away, full or locked: the caller may try again, nothing here is broken.
UNREACHABLE = (OperationalError, PoolTimeout)
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "access-control-allow-headers": "Content-Type, Authorization, X-Admin-Key, X-Request-Id, Idempotency-Key, Last-Event-ID",
    "access-control-max-age": "86400",
}
EXPOSED = b"x-request-id, retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, location, etag"


class Manners:
    """One dialect's rules from the document's `x-dialects`, made ready."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.render = dialects.ENVELOPES[raw["errors"]]
        self.invalid = int(raw["invalid"])
        self.max_body = int(raw["body"])
        self.before = limits.parse(raw["before"]) if raw.get("before") else None
        self.after = limits.parse(raw["after"], "principal") if raw.get("after") else None
        self.failures = limits.parse(raw["failures"])
        self.headers = [(name.lower().encode(), limits.HEADERS[name]) for name in raw["headers"]]


class Gate:
    """An ASGI application in front of both planes."""

    def __init__(self, held: Runtime, planes: Mapping[str, App], counter: limits.Limits) -> None:
        self._runtime = held
        self._index = held.index
        self._authenticator = held.authenticator
        self._planes = planes
        self.limits = counter
        self._manners = {name: Manners(raw) for name, raw in self._index.document["x-dialects"].items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever goes wrong is said in the dialect of its path."""
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        sent = headers.get("x-request-id", "")
        request_id = sent if SANE_ID.match(sent) else identifiers.request_id()
        answer = _Answer(send, request_id, headers.get("origin"))
        try:
            await self._serve(scope, headers, answer, receive)
        except Disconnected:
            log.info("request %s ended before its body did", request_id)
        except Exception as error:  # noqa: BLE001 (the last place that can answer)
            await self._refuse(scope, error, answer, receive)

    async def _serve(self, scope: Scope, headers: dict[str, str], answer: _Answer, receive: Receive) -> None:
        match = self._index.match(_path(scope))
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await self._count_unmatched(scope, answer, match)
            await send_reply(_preflight(), receive, answer.send)
            return
        if match is None or not _has_method(match, scope["method"]):
            await self._count_unmatched(scope, answer, match)
        if match is None:
            raise Problem(404, "There is nothing at this path; /api/docs lists what there is")
        operation = _operation(match, scope, answer)
        answer.manners = manners = self._manners[operation.dialect]
        call = Call(operation, answer.request_id, match.arguments, scope["query_string"], headers, _client(scope))
        call.manners = manners.raw
        answer.call = call
        scope[CALL] = call
        await self._admit(call, manners)
        if _announced(headers) > manners.max_body:
            raise too_large(manners.max_body)
        runtime.enter(self._runtime)
        enter(call)
        await self._planes[operation.plane](scope, receive, answer.send)

    async def _count_unmatched(self, scope: Scope, answer: _Answer, match: Match | None) -> None:
        """A request that reaches no operation still counts, by address, and still tells of the limit."""
        answer.manners = manners = self._manners_at(_path(scope), match)
        rule = manners.before or manners.after
        if rule and self.limits.enabled:
            answer.rate = await self.limits.hit(rule, "unmatched", _client(scope))
            if not answer.rate.allowed:
                raise limits.exceeded(answer.rate)

    async def _admit(self, call: Call, manners: Manners) -> None:
        """Limits by address, then the credential, then limits by caller."""
        limited = self.limits.enabled and call.operation.limit != "exempt"
        if limited and manners.before:
            self._hold(call, await self.limits.hit(manners.before, "before", call.operation.system, call.client))
        try:
            call.principal = await self._authenticator.admit(call.operation, call.headers, call.path)
        except Problem as refusal:
            if limited and refusal.status == HTTPStatus.UNAUTHORIZED:
                self._hold(call, await self.limits.hit(manners.failures, "failures", call.client))
            raise
        if self.limits.enabled and manners.after:
            await self._count_caller(call, manners.after, limited=limited)

    async def _count_caller(self, call: Call, rule: limits.Rule, *, limited: bool) -> None:
        """Exempt operations are not counted, but a known caller is still told what is left."""
        known = call.principal.kind != "anonymous"
        key = ("after", call.operation.dialect, call.principal.subject if known else call.client)
        if limited:
            self._hold(call, await self.limits.hit(rule, *key))
        elif known:
            call.rate = await self.limits.peek(rule, *key)

    @staticmethod
    def _hold(call: Call, rate: limits.Rate) -> None:
        call.rate = rate
        if not rate.allowed:
            raise limits.exceeded(rate)

    def _manners_at(self, path: str, match: Match | None) -> Manners:
        dialect = next(iter(match.methods.values())).dialect if match else self._index.nearest(path)
        return self._manners[dialect]

    async def _refuse(self, scope: Scope, error: Exception, answer: _Answer, receive: Receive) -> None:
        problem = _as_problem(error)
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, Problem):
            log.error("request %s failed: %s", answer.request_id, type(error).__name__, exc_info=error)
        if answer.started:
            raise error  # too late to say anything: the connection must break, not end well
        manners = answer.manners or self._manners_at(_path(scope), self._index.match(_path(scope)))
        answer.manners = manners
        if problem.issues:
            problem.status = manners.invalid
        body = manners.render(problem, answer.request_id)
        headers = [(k.encode(), v.encode("latin-1")) for k, v in problem.headers.items()]
        await send_reply(json_reply(body, problem.status, headers), receive, answer.send)


class _Answer:
    """The sending side of one request: adds what every answer carries, whoever made it."""

    def __init__(self, send: Send, request_id: str, origin: str | None) -> None:
        self._send = send
        self.request_id = request_id
        self._origin = origin
        self.manners: Manners | None = None
        self.call: Call | None = None
        self.rate: limits.Rate | None = None
        self.started = False
        self.bodiless = False

    async def send(self, message: Message) -> None:
        """Pass a message on; the first one gets the common headers."""
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = [*message.get("headers", ()), *self._common()]
        elif self.bodiless:
            message["body"] = b""
        await self._send(message)

    def _common(self) -> RawHeaders:
        extra: RawHeaders = [(b"x-request-id", self.request_id.encode())]
        if self._origin:
            extra += [(b"access-control-allow-origin", self._origin.encode("latin-1")), (b"vary", b"Origin"),
                      (b"access-control-expose-headers", EXPOSED)]
        rate = self.call.rate if self.call else self.rate
        if self.manners and rate:
            extra += [(name, tell(rate).encode()) for name, tell in self.manners.headers]
        return extra


def _path(scope: Scope) -> str:
    """The path as sent, still percent-encoded: an encoded slash belongs to its segment (RFC 3986 §2.2)."""
    raw = scope.get("raw_path")
    return str(raw.decode("latin-1")) if raw else quote(scope["path"])


def _announced(headers: Mapping[str, str]) -> int:
    """The body's size by its Content-Length; 0 when there is none (RFC 9110 §8.6)."""
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise Problem(400, "Content-Length must be a number of bytes")
    return int(text[:20])


def _client(scope: Scope) -> str:
    return str((scope.get("client") or ("", 0))[0])


def _has_method(match: Match, method: str) -> bool:
    return method in match.methods or (method == "HEAD" and "GET" in match.methods)


def _operation(match: Match, scope: Scope, answer: _Answer) -> Operation:
    """The operation for the method; HEAD is GET without its body (RFC 9110 §9.3.2)."""
    method = scope["method"]
    if method == "HEAD" and "HEAD" not in match.methods and "GET" in match.methods:
        answer.bodiless = True
        method = scope["method"] = "GET"
    if method not in match.methods:
        allowed = ", ".join(sorted(match.methods))
        raise Problem(405, f"This path answers {allowed}", headers={"allow": allowed})
    return match.methods[method]


def _preflight() -> Any:
    reply = json_reply(None, 204, [(k.encode(), v.encode()) for k, v in PREFLIGHT.items()])
    reply.body = b""
    return reply


def _as_problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return Problem(error.status_code, str(error.detail), headers=dict(error.headers or {}))
    if isinstance(error, ProblemException):
        return Problem(int(error.status or 500), str(error.detail or error.title))
    if isinstance(error, UNREACHABLE):
        return Problem(503, "The database does not answer; try again", headers={"retry-after": "1"})
    return Problem(500, "The server failed; quote the request id when you report it")
