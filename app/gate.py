"""The gate every request passes, on either plane: routing, limits, credentials, and how refusals are said."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs, quote

from connexion.exceptions import ProblemException
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from app import runtime
from app.observe import logs
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
    Reply,
    Scope,
    Send,
    json_reply,
    send_reply,
    too_large,
)

log = logging.getLogger("yardmaster.gate")
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
CALL = "yardmaster.call"
# Refusals for what is stored, which some dialects say as a plain 400.
CLASHES = frozenset({HTTPStatus.CONFLICT, HTTPStatus.GONE})
TOKEN = "access_token"  # noqa: S105 (the name of a parameter, RFC 6750 §2.3)
# What a database raises that is away, full or locked: the caller may try again, nothing here is broken.
UNREACHABLE = (OperationalError, PoolTimeout)
# The wildcards spare a page of another origin our naming every header an SDK sends; no browser takes them for
# Authorization, nor with cookies: `access-control-allow-credentials` is never sent, so a page acts with the keys it was
# given and never with its visitor's session (Fetch §3.3.5).
PREFLIGHT: RawHeaders = [
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, X-Admin-Key, X-Request-Id, *"),
    (b"access-control-max-age", b"86400"),
]
EXPOSE = (
    b"access-control-expose-headers",
    b"x-request-id, retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, location, etag, *",
)
# On every answer: a media type is what it says, and what is kept for one origin is not given to another.
ALWAYS: RawHeaders = [(b"x-content-type-options", b"nosniff"), (b"vary", b"Origin")]
# A serialised origin or `null` (RFC 6454 §7.1); anything else is no browser's.
ORIGIN = re.compile(r"null\Z|[a-z][a-z0-9+.-]*://[!-~]{1,255}\Z")


class Manners:
    """One dialect's rules from the document's `x-dialects`, made ready."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.render = dialects.ENVELOPES[raw["errors"]]
        self.invalid = int(raw["invalid"])
        self.clash = int(raw.get("clash", 0))
        self.max_body = int(raw["body"])
        self.before = limits.parse(raw["before"]) if raw.get("before") else None
        self.after = limits.parse(raw["after"], "principal") if raw.get("after") else None
        self.failures = limits.parse(raw["failures"])
        self.headers = [(name.lower().encode(), limits.HEADERS[name]) for name in raw["headers"]]
        self.request_id = raw.get("request_id", "").lower().encode()

    def status(self, problem: Problem) -> int:
        """The status by which the dialect's clients know what went wrong."""
        if problem.issues:
            return self.invalid
        return self.clash or problem.status if problem.status in CLASHES else problem.status


class BrokenOff(Exception):  # noqa: N818 (an event; the failure behind it is in the log)
    """An answer failed after it began: too late to say anything, so the connection must break, not end well."""


class Gate:
    """An ASGI application in front of both planes."""

    def __init__(self, held: Runtime, planes: Mapping[str, App], counter: limits.Limits) -> None:
        self._runtime = held
        self._index = held.index
        self._authenticator = held.authenticator
        self._planes = planes
        self._meter = held.meter
        self.limits = counter
        self._manners = {name: Manners(raw) for name, raw in self._index.document["x-dialects"].items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever goes wrong is said in the dialect of its path."""
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        sent = headers.get("x-request-id", "")
        request_id = sent if SANE_ID.match(sent) else identifiers.request_id()
        answer = _Answer(send, request_id, headers.get("origin"))
        method, began = scope["method"], (request_id, _client(scope), perf_counter())
        try:
            await self._serve(scope, headers, answer, receive)
        except Disconnected:
            answer.status = logs.CLIENT_GONE
        except Exception as error:  # noqa: BLE001 (the last place that can answer)
            await self._refuse(scope, error, answer, receive)
        finally:
            took_us = int((perf_counter() - began[2]) * 1_000_000)
            self._meter.answered(answer.call.operation.id if answer.call else "unmatched", answer.status, took_us)
            logs.answered(method, answer.status, answer.call, began)

    async def _serve(self, scope: Scope, headers: dict[str, str], answer: _Answer, receive: Receive) -> None:
        match = self._index.match(_path(scope))
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await self._count_unmatched(scope, answer, match)
            await send_reply(Reply(204, list(PREFLIGHT)), receive, answer.send)
            return
        if match is None or not _has_method(match, scope["method"]):
            await self._count_unmatched(scope, answer, match)
        if match is None:
            raise Problem(404, "There is nothing at this path; /api/docs lists what there is")
        operation = _operation(match, scope, answer)
        answer.manners = manners = self._manners[operation.dialect]
        _read_token(operation, scope["query_string"], headers)
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
            told = {"request_id": answer.request_id}
            log.error("a request failed: %s", type(error).__name__, exc_info=error, extra={"fields": told})
        if answer.started:
            raise BrokenOff from None
        manners = answer.manners or self._manners_at(_path(scope), self._index.match(_path(scope)))
        answer.manners = manners
        problem.status = manners.status(problem)
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
        self.status = logs.CLIENT_GONE
        self.bodiless = False

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on; the first one gets the common headers. A coroutine less for each piece of a stream."""
        if "status" in message:
            self.started, self.status = True, message["status"]
            message["headers"] = [*message.get("headers", ()), *self._common()]
        if self.bodiless:
            message["body"] = b""
        return self._send(message)

    def _common(self) -> RawHeaders:
        extra: RawHeaders = [(b"x-request-id", self.request_id.encode()), *ALWAYS]
        if self.manners and self.manners.request_id:
            extra.append((self.manners.request_id, self.request_id.encode()))
        if self._origin and ORIGIN.match(self._origin):
            extra += [(b"access-control-allow-origin", self._origin.encode()), EXPOSE]
        rate = self.call.rate if self.call else self.rate
        if self.manners and rate:
            extra += [(name, tell(rate).encode()) for name, tell in self.manners.headers]
        return extra


def _path(scope: Scope) -> str:
    """The path as sent, still percent-encoded: an encoded slash belongs to its segment (RFC 3986 §2.2)."""
    raw = scope.get("raw_path")
    return str(raw.decode("latin-1")) if raw else quote(scope["path"])


def _read_token(operation: Operation, query: bytes, headers: dict[str, str]) -> None:
    """An access token in the query counts as the header where the operation says so: `EventSource` sends no header."""
    if query and "authorization" not in headers and any(p["name"] == TOKEN for p in operation.parameters):
        sent = parse_qs(query.decode("latin-1")).get(TOKEN)
        if sent:
            headers["authorization"] = f"Bearer {sent[0]}"


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
