"""The desk for calls under an `Idempotency-Key`: of the same calls one runs, and the others get its answer."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from app.gateway.idempotency import kept
from app.gateway.idempotency.recording import Recording
from app.gateway.idempotency.store import LEASE, Held, Named, Store
from app.problems import Problem, unauthorized
from app.security.sealing import Keyring, UnsealError
from models.base import now

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange
    from app.wire.replies import Reply

log = logging.getLogger("yardmaster.idempotency")
Serve = Callable[["Exchange"], Awaitable["Reply"]]
# Headers that choose an answer; those that only say how a call is counted may differ when it is repeated.
CHOOSING: Final = ("x_provider", "x_template", "x_template_vars", "x_schema")
RENEW_S: Final = LEASE.total_seconds() / 4
# A run older than this is one that was lost track of; its key may lapse.
LONGEST_CALL_S: Final = 21_600.0
LONGEST_WAIT_S: Final = 30


@dataclass(frozen=True, slots=True)
class Run:
    """A call that has its key, by this holder, since a moment of the monotonic clock."""

    id: str
    holder: str
    since: float


class Idempotency:
    """One worker's desk. A call without the header never comes here."""

    def __init__(self, engine: Engine, secrets: Keyring) -> None:
        self._store, self._secrets = Store(engine), secrets
        self._running: dict[str, Run] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to renew the leases of calls under way."""
        self._task = asyncio.get_running_loop().create_task(self._tend())

    def stop(self) -> None:
        """Renew no more."""
        if self._task:
            self._task.cancel()

    async def once(self, exchange: Exchange, key: str, serve: Serve) -> Reply:
        """The call's answer, or that of the same call before; Problem 409 while that one runs, 422 if it was another.

        What serves the call may refuse it, too.
        """
        named = named_of(exchange, key)
        holder = token_hex(16)
        while (held := await asyncio.to_thread(self._claim, named, holder)) is not None:
            if held.fingerprint != named.fingerprint:
                raise _another()
            if held.sealed_answer is None:
                raise _under_way(held)
            packed = await asyncio.to_thread(self._opened, named.id, held.sealed_answer)
            if packed is not None:
                return kept.replayed(packed, exchange.headers)
        return await self._first(Run(named.id, holder, time.monotonic()), exchange, serve)

    def _claim(self, named: Named, holder: str) -> Held | None:
        try:
            return self._store.claim(named, holder)
        except IntegrityError:  # the account was erased a moment ago
            raise unauthorized("Invalid API key") from None

    def _opened(self, id_: str, sealed: bytes) -> bytes | None:
        """A kept answer; None, and its key is free, when no key of the server opens it."""
        try:
            return kept.opened(sealed, id_, self._secrets)
        except UnsealError as error:
            log.error("a kept answer stays shut, so its call runs again: %s", error)  # noqa: TRY400 (no traceback helps)
            self._store.forget(id_, sealed)
            return None

    async def _first(self, run: Run, exchange: Exchange, serve: Serve) -> Reply:
        self._running[run.id] = run
        try:
            reply = await serve(exchange)
        except Problem as problem:
            await self._end(run, partial(kept.of_problem, problem, exchange))
            raise
        except BaseException:
            await self._end(run)
            raise
        if reply.chunks is not None:
            reply.chunks = Recording(reply, exchange, partial(self._end, run))
        else:
            await self._end(run, partial(kept.of_reply, reply, reply.body))
        return reply

    async def _end(self, run: Run, packed: Callable[[], bytes | None] = lambda: None) -> None:
        """Keep what the call came to, or let its key go. A database that is away costs the caller nothing but that."""
        self._running.pop(run.id, None)
        try:
            await asyncio.to_thread(self._finish, run, packed)
        except Exception as error:  # noqa: BLE001 (the answer is there: it must not be lost for this)
            log.warning("an answer cannot be kept for its key: %s", type(error).__name__)

    def _finish(self, run: Run, packed: Callable[[], bytes | None]) -> None:
        content = packed()
        if content is None:
            self._store.release(run.id, run.holder)
        else:
            self._store.keep(run.id, run.holder, kept.sealed(content, run.id, self._secrets))

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            oldest = time.monotonic() - LONGEST_CALL_S
            if held := {run.id: run.holder for run in self._running.values() if run.since > oldest}:
                try:
                    await asyncio.to_thread(self._store.renew, held)
                except Exception as error:  # noqa: BLE001 (a database away for a moment must not end the tending)
                    log.warning("keys of calls under way cannot be renewed: %s", type(error).__name__)


def named_of(exchange: Exchange, key: str) -> Named:
    """The call's digests. Keys of one user's account meet each other, those of two accounts never do."""
    call = exchange.call
    principal = call.principal
    caller = principal.subject if principal.user_id is None else f"user:{principal.user_id}"
    told = [caller, sha256(principal.secret.encode()).hexdigest(), call.operation.id, key]
    asked = [*told, *(call.arguments.get(name) for name in CHOOSING), call.body]
    return Named(_digest(told), _digest(asked), principal.user_id)


def _digest(told: list[Any]) -> str:
    return sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _another() -> Problem:
    message = "This Idempotency-Key came with another request before; choose a new one"
    return Problem(422, message, code="idempotency_key_reused")


def _under_way(held: Held) -> Problem:
    """409: nobody knows how long it takes, but half of it may be over."""
    ran = math.ceil((now() - held.began_at).total_seconds())
    wait = min(max(1, ran), LONGEST_WAIT_S)
    message = f"The call with this Idempotency-Key is under way; come back for its answer in {wait}s"
    return Problem(409, message, code="idempotency_key_in_use", headers={"retry-after": str(wait)})
