"""Carries deliveries out: one call through the gateway's lane for each, and one event of what came of it.

Each call has an `Idempotency-Key` of its own: after a crash between answer and event the same answer comes again.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import orjson
from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app import engine
from app.engine import Context
from app.gateway.lane import Gateway
from app.gateway.wire import Kind
from app.problems import Problem
from app.runtime import runtime
from app.security.principals import Principal
from app.security.sealing import UnsealError, unseal
from app.services.relays.intake import TASK, owner_of
from app.services.webhooks import announce
from app.wire.call import Call
from app.wire.replies import Reply
from models.base import now, transaction
from models.identity import User
from models.relays import ANSWERED, FAILED, WAITING, RelayDelivery

log = logging.getLogger("yardmaster.relays")
Json = dict[str, Any]
OPERATION: Final = "create_chat_completion"
# Between the turns of a call that may yet be answered; a dead worker holds its key for a minute.
WAITS: Final = tuple(timedelta(seconds=s) for s in (5, 60, 300, 900, 1_800))
PASSING: Final = frozenset({409, 429, 500, 502, 503, 504})
LONGEST_ANSWER: Final = 100_000
LONGEST_ERROR: Final = 300
KEPT: Final = timedelta(days=30)
TRACE: Final = "x-stockyard-trace-id"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a turn: an answer, or why there is none; `again` when another turn may fare better."""

    trace_id: str | None = None
    answer: str | None = field(default=None, repr=False)
    error: str = ""
    again: timedelta | None = None


class Carrying:
    """The engine's task of a delivery's turn; the key is the delivery's number and the number of the turn."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, key: str, context: Context) -> None:
        """Ask the model, and tell what came of it in the transaction that ends the delivery."""
        number, _, turn = key.partition(".")
        with transaction(self._engine, write=False) as opened:
            row = opened.get(RelayDelivery, int(number))
            user = opened.get(User, row.user_id) if row else None
        if row is None or user is None or row.status != WAITING or row.turns >= int(turn):
            return
        self._note(row, _outcome(row, context) if user.is_active else Outcome(error="Its account is not active"))

    def sweep(self, _context: Context) -> None:
        """Forget what ended a month ago."""
        old = (RelayDelivery.status != WAITING, RelayDelivery.created_at < now() - KEPT)
        with transaction(self._engine) as opened:
            opened.execute(delete(RelayDelivery).where(*old))

    def _note(self, row: RelayDelivery, outcome: Outcome) -> None:
        again = outcome.again if row.turns < len(WAITS) else None
        moment = now()
        with transaction(self._engine) as opened:
            if not _ended(opened, row, outcome, moment if again is None else None):
                return
            if again is not None:
                engine.submit(TASK, f"{row.id}.{row.turns + 2}", at=moment + max(again, WAITS[row.turns]))
            else:
                announce(*_told(row, outcome))


def stats(session: Session) -> Json:
    """What became of the deliveries that are kept: a month of them, over all workers."""
    counted = session.execute(select(RelayDelivery.status, func.count()).group_by(RelayDelivery.status))
    found = {str(status): number for status, number in counted}
    return {status: found.get(status, 0) for status in (WAITING, ANSWERED, FAILED)}


def _ended(session: Session, row: RelayDelivery, outcome: Outcome, moment: datetime | None) -> bool:
    """Whether this turn is the one that counts; of two, one does."""
    fresh: Json = {"turns": row.turns + 1, "trace_id": outcome.trace_id}
    if moment is not None:
        status = FAILED if outcome.answer is None else ANSWERED
        fresh |= {"status": status, "ended_at": moment, "sealed_prompt": None}
    mine = (RelayDelivery.id == row.id, RelayDelivery.status == WAITING, RelayDelivery.turns == row.turns)
    taken = update(RelayDelivery).where(*mine).values(fresh).returning(RelayDelivery.id)
    return session.scalar(taken, execution_options={"synchronize_session": False}) is not None


def _told(row: RelayDelivery, outcome: Outcome) -> tuple[str, Json]:
    data: Json = {"relay": row.relay, "id": row.uid, "message": row.message, "model": row.model}
    data |= {"project": row.project, "trace_id": outcome.trace_id}
    if outcome.answer is None:
        return "relay.failed", data | {"error": outcome.error[:LONGEST_ERROR]}
    cut = len(outcome.answer) > LONGEST_ANSWER
    return "relay.answered", data | {"answer": outcome.answer[:LONGEST_ANSWER], "truncated": cut}


def _outcome(row: RelayDelivery, context: Context) -> Outcome:
    try:
        return _answered(context.outcome(_begun(_call(row))))
    except Problem as problem:
        return _refused(problem)
    except UnsealError:
        return Outcome(error="What was received cannot be opened: its key is gone")
    except (OperationalError, PoolTimeout):
        raise  # the database's trouble, not the delivery's: the engine tries again
    except Exception as error:
        log.exception("delivery %s broke: %s", row.uid, type(error).__name__)
        return Outcome(error="The server failed on this delivery")


def _call(row: RelayDelivery) -> Call:
    """The call of the account that the relay is charged to."""
    prompt = unseal(row.sealed_prompt or "", owner_of(row.uid), runtime().secrets)
    body: Json = {"model": row.model, "messages": [{"role": "user", "content": prompt}], "max_tokens": row.max_tokens}
    told = {"x_project": row.project, "x_stockyard_tags": orjson.dumps({"relay": row.relay}).decode()}
    return Call(
        operation=runtime().index.by_id[OPERATION],
        request_id=row.uid,
        path={},
        query=b"",
        headers={},
        principal=Principal("user", frozenset({"user"}), row.user_id),
        arguments=told | {"idempotency_key": row.uid},
        body=body,
        raw=orjson.dumps(body),
    )


def _begun(call: Call) -> Future[Reply]:
    """The call on its way through the lane, on its own loop."""
    gateway: Gateway = runtime().gateway
    return gateway.soon(partial(gateway.handle, Kind.CHAT, call))


def _answered(reply: Reply) -> Outcome:
    message = orjson.loads(reply.body)["choices"][0]["message"]
    trace = dict(reply.headers).get(TRACE.encode(), b"").decode()
    return Outcome(trace or None, str(message.get("content") or ""))


def _refused(problem: Problem) -> Outcome:
    passing = problem.status in PASSING and problem.headers.get("x-should-retry") != "false"
    asked = problem.headers.get("retry-after", "")
    again = timedelta(seconds=min(int(asked) if asked.isdigit() else 0, 86_400)) if passing else None
    return Outcome(problem.headers.get(TRACE), error=problem.message, again=again)
