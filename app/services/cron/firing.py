"""A firing: one call of the user it is charged to, through the gateway's lane, and the event that tells of its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Any, Final

import orjson
from sqlalchemy import Engine

from app.engine import Context
from app.gateway.lane import Gateway
from app.gateway.wire import Kind
from app.problems import Problem
from app.runtime import runtime
from app.security.principals import Principal
from app.security.redact import redact
from app.services.cron import planning
from app.services.webhooks import announce
from app.wire import identifiers
from app.wire.call import Call
from app.wire.replies import Reply
from models.base import transaction
from models.cron import CronJob
from models.identity import User
from models.views.fields import rfc3339

log = logging.getLogger("yardmaster.cron")
Json = dict[str, Any]
Job = Mapping[str, Any]
OPERATION: Final = "create_chat_completion"
COMPLETED, FAILED, REFUSED = "completed", "failed", "refused"
AGAIN_S: Final = 1.0
LONGEST_ERROR: Final = 300
LONGEST_ANSWER: Final = 4_000
SERVERS_FAULT: Final = 500
IN_USE: Final = "idempotency_key_in_use"
# The call comes from this server itself.
HERE: Final = "127.0.0.1"


class Firing:
    """Carries firings out. A call that a crash cut short is made again, under the key it was made under before."""

    def __init__(self, database: Engine) -> None:
        self._database = database

    def __call__(self, key: str, context: Context) -> None:
        """Make the call of a job that is due; the key is its name and the moment."""
        name, at = planning.firing(key)
        with transaction(self._database) as session:
            job = planning.begin(session, name, at)
        if job is not None:
            told = context.step("call", lambda: self._made(job, key, context))
            self._tell(job, at, told)

    def _made(self, job: Job, key: str, context: Context) -> Json:
        """How it ended, and the call's trace where it has one."""
        with transaction(self._database, write=False) as session:
            user = session.get(User, job["user"])
            if user is None or not user.is_active:
                return _refused(Problem(403, f"User {job['user']} is disabled or gone", details={"reason": "user"}))
        while True:
            try:
                return _answered(context.outcome(_begun(_call(job, key))), job)
            except Problem as problem:
                if problem.code != IN_USE:
                    return _refused(problem)
            except Exception as error:  # noqa: BLE001 (whatever it is, somebody waits to be told)
                log.warning("job %s failed: %s", job["name"], type(error).__name__)
                return _refused(Problem(500, f"The gateway failed: {type(error).__name__}"))
            context.pause(AGAIN_S)  # a worker that died has the key still; nobody else makes this firing

    def _tell(self, job: Job, at: datetime, told: Json) -> None:
        """Count the end of a firing and announce it, once."""
        with transaction(self._database) as session:
            row = session.get(CronJob, job["name"], with_for_update=True)
            if row is not None and row.told_at == at:
                return
            if row is not None:
                row.told_at = at
                setattr(row, told["status"], getattr(row, told["status"]) + 1)
            about = {"job": job["name"], "due_at": rfc3339(at), "model": job["model"], "user_id": job["user"]}
            type_ = "cron.completed" if told["status"] == COMPLETED else "cron.failed"
            announce(type_, {**about, "project": job["project"], **told})


def _call(job: Job, key: str) -> Call:
    """The job's call, as its user would make it."""
    last = [{"role": "user", "content": job["prompt"]}] if job["prompt"] else []
    body: Json = {"model": job["model"], "messages": [*job["messages"], *last]}
    body |= {"max_tokens": job["max_tokens"]} if job["max_tokens"] else {}
    call = Call(runtime().index.by_id[OPERATION], identifiers.request_id(), {}, b"", {}, HERE)
    call.principal = Principal("user", frozenset({"user"}), job["user"])
    call.arguments = {"x_project": job["project"], "x_stockyard_tags": f"{planning.NAME}={job['name']}"}
    call.arguments["idempotency_key"] = f"{planning.NAME}:{key}"
    call.body, call.raw = body, orjson.dumps(body)
    return call


def _begun(call: Call) -> Future[Reply]:
    """The call on its way through the lane, on its own loop."""
    gateway: Gateway = runtime().gateway
    return gateway.soon(partial(gateway.handle, Kind.CHAT, call))


def _answered(reply: Reply, job: Job) -> Json:
    headers = dict(reply.headers)
    told: Json = {"status": COMPLETED, "trace_id": headers.get(b"x-stockyard-trace-id", b"").decode()}
    if cost := headers.get(b"x-stockyard-cost"):
        told["cost_usd"] = float(cost)
    if job["announce_answer"]:
        text = (orjson.loads(reply.body)["choices"][0].get("message") or {}).get("content")
        told["answer"] = text[:LONGEST_ANSWER] if isinstance(text, str) else ""
    return told


def _refused(problem: Problem) -> Json:
    """Refused is what nobody was asked for; where somebody was, or should have been, it failed."""
    asked = int(problem.headers.get("x-stockyard-attempts", 0)) > 0
    status = FAILED if asked or problem.status >= SERVERS_FAULT else REFUSED
    error = {"status": problem.status, "code": problem.code, "message": redact(problem.message)[:LONGEST_ERROR]}
    error |= {"reason": reason} if isinstance(reason := problem.details.get("reason"), str) else {}
    return {"status": status, "trace_id": problem.headers.get("x-stockyard-trace-id"), "error": error}
