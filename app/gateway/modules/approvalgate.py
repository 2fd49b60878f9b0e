"""Approval gate: a risky call waits until a person has let it go on, or refused it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final

import orjson
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.gateway.exchange import Exchange
from app.gateway.failures import NEVER_RETRY
from app.gateway.modules import risks
from app.gateway.modules.catalogue import parse_duration
from app.gateway.modules.conditions import models
from app.gateway.modules.risks import Risk, Watch
from app.gateway.modules.waitingroom import STOPPED, Room
from app.gateway.steps import Module, Place, Steps
from app.gateway.streams import gone
from app.outbound.post import Outcome, post
from app.problems import Problem, unauthorized
from app.runtime import runtime
from app.services import held_calls
from app.services.held_calls import Asked, Fate
from app.services.vault.closing import REQUEST
from models.approvals import ABANDONED, APPROVED, EXPIRED, REJECTED

log = logging.getLogger("yardmaster.approvals")
NAME: Final = "approvalgate"
LONGEST_RULE: Final = 200
LONGEST_MODEL: Final = 256
FULL_S: Final = 30


@dataclass(frozen=True, slots=True)
class Terms:
    """How calls wait: how long, whether they then go on, how many at once, and what is kept and told of them."""

    seconds: float
    passes: bool
    remember_s: float
    most: int
    preview: int
    webhook: str = field(repr=False)


class Approvalgate(Module):
    """A call waits in the worker it came to; decisions come through the database, to every worker."""

    COUNTS = (
        "held",
        "approved",
        "rejected",
        "expired",
        "abandoned",
        "remembered",
        "turned_away",
        "unasked",
        "told",
        "untold",
    )

    def __init__(self) -> None:
        super().__init__()
        self._telling: set[asyncio.Task[None]] = set()

    def settle_in(self, place: Place) -> None:
        """Those who wait are in the database."""
        self._engine: Engine = place.engine
        self._room = Room(place.engine)

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while no call can be risky."""
        watch, terms = Watch(settings), _terms(settings)

        async def request(exchange: Exchange) -> None:
            if (risk := await watch.risk(exchange)) is not None:
                await self._hold(exchange, risk, terms)

        return Steps(request=None if watch.idle else request)

    def stats(self) -> dict[str, Any]:
        """What it counted in this worker, and how many wait here now."""
        return {**self.counted, "waiting": len(self._room)}

    async def stop(self) -> None:
        """Nobody waits for a server that has ended."""
        await self._room.stop()
        if self._telling:
            await asyncio.wait(self._telling)

    async def _hold(self, exchange: Exchange, risk: Risk, terms: Terms) -> None:
        """Return when the call may go on; Problem 403 when it may not, 429 or 503 when nobody can be asked."""
        taken = await self._take(exchange, risk, terms)
        if taken.status == APPROVED:
            self.counted["remembered"] += 1
            exchange.details["approval"] = {"id": taken.id, "status": "remembered"}
            return
        self.counted["held"] += 1
        self._tell(exchange, risk, taken, terms)
        began = perf_counter()
        fate = await self._fate(exchange, taken.id, terms.seconds)
        self._note(exchange, fate, perf_counter() - began)
        if fate.status != APPROVED and not (fate.status == EXPIRED and terms.passes):
            raise _refusal(fate, terms)

    async def _take(self, exchange: Exchange, risk: Risk, terms: Terms) -> Fate:
        """The call's place among those who wait, or the approval it has already."""
        try:
            taken = await asyncio.to_thread(self._asked, exchange, risk, terms)
        except IntegrityError:  # the account was erased a moment ago
            raise unauthorized("Invalid API key") from None
        except SQLAlchemyError as error:
            raise self._unasked(error) from error
        if taken is None:
            self.counted["turned_away"] += 1
            message = f"{terms.most} calls wait for approval already; this one cannot"
            raise Problem(429, message, details={"reason": NAME}, headers={"retry-after": str(FULL_S)})
        return taken

    def _asked(self, exchange: Exchange, risk: Risk, terms: Terms) -> Fate | None:
        same = risks.fingerprint(exchange, runtime().secrets.pepper)
        asked = Asked(same, _columns(exchange, risk, terms), terms.seconds, terms.remember_s)
        return held_calls.take(self._engine, asked, terms.most)

    async def _fate(self, exchange: Exchange, number: int, seconds: float) -> Fate:
        """What becomes of the call; Problem 499 when its caller hung up, which gives its place up."""
        with runtime().gateway.lookout.watch(exchange.call) as hang_up:
            try:
                return await self._room.fate(number, seconds)
            except SQLAlchemyError as error:
                raise self._unasked(error) from error
            except asyncio.CancelledError:
                self._note(exchange, Fate(number, ABANDONED), 0.0)
                if not hang_up.caught():
                    raise
                raise gone() from None

    def _unasked(self, error: Exception) -> Problem:
        """Where the database is away, nobody can approve."""
        self.counted["unasked"] += 1
        log.warning("nobody can be asked to approve a call: %s", type(error).__name__)
        message = "Nobody can be asked to approve this call at the moment; it was not made"
        return Problem(503, message, details={"reason": NAME}, headers={"retry-after": "1"})

    def _note(self, exchange: Exchange, fate: Fate, waited_s: float) -> None:
        self.counted[fate.status if fate.status in {APPROVED, REJECTED, EXPIRED} else "abandoned"] += 1
        waited = {"id": fate.id, "status": fate.status, "waited_ms": int(waited_s * 1000)}
        exchange.details["approval"] = waited
        if exchange.leash:
            exchange.leash.rest(waited_s)

    def _tell(self, exchange: Exchange, risk: Risk, taken: Fate, terms: Terms) -> None:
        """Tell the address, beside the call; nothing of the prompt."""
        if not terms.webhook:
            return
        told = {"id": taken.id, "reason": risk.reason, "project": exchange.project, "model": exchange.model}
        told |= {"operation": exchange.kind, "expires_at": datetime.now(UTC) + timedelta(seconds=terms.seconds)}
        body = orjson.dumps({"type": "approval.waiting", "data": told}, option=orjson.OPT_UTC_Z)
        allowed = runtime().settings.outbound_allowed
        sending = partial(post, terms.webhook, {"content-type": "application/json"}, body, allowed)
        task = asyncio.get_running_loop().create_task(self._send(sending))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _send(self, sending: Callable[[], Outcome]) -> None:
        outcome = await asyncio.to_thread(sending)
        heard = outcome.status is not None and outcome.status < HTTPStatus.MULTIPLE_CHOICES
        self.counted["told" if heard else "untold"] += 1
        if not heard:
            log.warning("nobody was told that a call waits: %s", outcome.error or f"status {outcome.status}")


def _terms(settings: Mapping[str, Any]) -> Terms:
    return Terms(
        seconds=parse_duration(settings["timeout"]),
        passes=settings["on_timeout"] == "pass",
        remember_s=parse_duration(settings["remember"]),
        most=settings["max_waiting"],
        preview=settings["preview"],
        webhook=settings["webhook"],
    )


def _columns(exchange: Exchange, risk: Risk, terms: Terms) -> dict[str, Any]:
    """What is kept of the call: where traces keep no prompts, no piece of one outlasts the wait; where sealed, none."""
    call, config = exchange.call, runtime().gateway.config
    sealing = runtime().gateway.vault.rule
    logging_ = config.of("logging")
    kept = config.on("logging") and logging_["store_bodies"] and logging_["max_body_size"] >= terms.preview
    asked = ", ".join(names[-1] for names in models(exchange))
    return {
        "reason": risk.reason,
        "rule": risk.rule[:LONGEST_RULE],
        "user_id": call.principal.user_id,
        "key_id": call.principal.key_id,
        "project": exchange.project,
        "model": asked.replace("\0", "")[:LONGEST_MODEL],
        "operation": exchange.kind,
        "stream": exchange.stream,
        "cost_nano": risk.cost,
        "preview": "" if sealing and REQUEST in sealing.fields else risks.preview(risk, terms.preview),
        "keeps_preview": kept,
        "trace_id": exchange.id,
        "request_id": call.request_id,
    }


def _refusal(fate: Fate, terms: Terms) -> Problem:
    """What the caller is told; a repetition by itself would only ask again."""
    details = {"reason": NAME, "approval": fate.id, "status": fate.status}
    if fate.status == STOPPED:
        message = "The server is stopping; nobody decided on this call yet"
        return Problem(503, message, details=details, headers={"retry-after": "1"})
    if fate.status == REJECTED:
        details |= {"note": fate.note} if fate.note else {}
        return Problem(403, "This call was rejected", details=details, headers=NEVER_RETRY)
    why = f"nobody decided on it within {terms.seconds:g} s" if fate.status == EXPIRED else "its place was lost"
    return Problem(403, f"This call needs approval, and {why}", details=details, headers=NEVER_RETRY)
