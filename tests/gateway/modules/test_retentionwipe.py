"""Wiping: what calls said is gone once it is past its age, figures stay, and the ledger tells of it, once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from app.engine import Context, Stopping
from app.factory import Application
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from app.services.trust import ledger
from app.services.wiping import calls, turn
from app.services.wiping.turn import Turn
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from models.approvals import HeldCall
from models.base import EPOCH, Base, micros, now, transaction
from models.chat import ChatMemory
from models.engine import EngineSchedule
from models.guardrails import GuardrailEvent
from models.idempotency import IdempotentCall
from models.identity import User
from models.traces import SpendRollup, Trace, TraceBody, TraceCount, TraceTag, UsageRollup
from models.trust import LedgerEntry
from models.views.fields import rfc3339
from models.webhooks import Webhook, WebhookMessage
from support.approvals import held_call
from support.callers import Caller, Client
from support.together import at_once

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
Json = dict[str, Any]
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
FOUND = {"rule": "birds", "type": "custom", "action": "log", "direction": "input", "matches": 1, "preview": "sk…42"}


@pytest.fixture
def engine(application: Application) -> Engine:
    """The test's database."""
    return application.runtime.engine


def said(number: int, days: float, **fields: Any) -> list[TraceRecord]:
    """So many calls of some days ago that hold words in every place."""
    held: Json = {"request_id": "r", "operation": "chat", "provider": "p", "model": "m", "status": "ok"}
    held |= {"error": "you said bluebird", "details": {"agent_session": "bluebird"}, "tags": {"team": "a"}}
    held |= {"request_body": b"bluebird?", "response_body": b"bluebird!", "cost_nano": 5, "tokens_in": 7}
    moment = micros(now() - timedelta(days=days))
    return [TraceRecord(trace_id(), **({"created_at": moment} | held | fields)) for _ in range(number)]


def wipe(engine: Engine, *, stopping: bool = False) -> None:
    """One turn, in a worker that goes on or is about to end."""
    ending = threading.Event()
    if stopping:
        ending.set()
    Turn(engine, pause_s=0)(Context("retentionwipe", ending, lambda: False, lambda _, step: step()))


def count(engine: Engine, *tables: type[Base]) -> list[int]:
    """How many rows each table has."""
    with transaction(engine, write=False) as opened:
        return [opened.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def speaking(engine: Engine) -> int:
    """How many calls still hold words."""
    with transaction(engine, write=False) as opened:
        rows = opened.execute(select(Trace, TraceBody).outerjoin(TraceBody, TraceBody.seq == Trace.seq)).all()
    return sum(bool(trace.error or trace.details or body) for trace, body in rows)


def told(engine: Engine) -> list[Json]:
    """What the ledger tells of wiping, oldest first."""
    with transaction(engine, write=False) as opened:
        assert ledger.verified().broken_at is None
        entries = opened.scalars(select(LedgerEntry).where(LedgerEntry.actor == turn.NAME).order_by(LedgerEntry.id))
        return [json.loads(entry.detail) for entry in entries]


def test_what_was_said_on_the_lane_is_gone_and_what_it_cost_is_not(
    ask: Ask, upstream: Upstream, traces: Traces, configure: Configure, admin: Caller, engine: Engine
) -> None:
    """Plain, streamed and refused calls alike, and their details in the API; one of today stays as it is."""
    configure("retentionwipe", max_age="1d")
    upstream.script(MODEL, {"text": "tweet"}, {"text": "tweet"}, {"status": 400}, {"text": "tweet"})
    for stream in (False, True, False):
        ask(MODEL, "bluebird", stream=stream, headers={"x-stockyard-tags": "team=a"})
    rows = traces(3)
    with transaction(engine) as session:
        session.execute(update(Trace).values(created_at=now() - timedelta(days=2)))
    ask(MODEL, "goldfinch")
    new = traces(4)[3]
    wipe(engine)
    shown = [admin.get(f"/api/observe/traces/{row['id']}").json() for row in rows]
    assert not any("bluebird" in str(one) or "tweet" in str(one) or one.get("error") for one in shown)
    assert [one["status"] for one in shown] == ["ok", "ok", "error"]
    assert all(one[name] == row[name] for one, row in zip(shown, rows, strict=True) for name in ("tokens_in", "model"))
    assert "goldfinch" in str(admin.get(f"/api/observe/traces/{new['id']}").json())
    [entry] = told(engine)
    assert (entry["calls_emptied"], entry["keep_figures"]) == (3, True)


def test_figures_tags_and_sums_stay(configure: Configure, engine: Engine) -> None:
    """Whoever pays by team and month can still do so."""
    store(engine, [*said(3, 8), *said(2, 6)])
    tables = (Trace, TraceTag, TraceCount, UsageRollup, SpendRollup)
    before = count(engine, *tables)
    configure("retentionwipe", max_age="7d")
    wipe(engine)
    assert (count(engine, *tables), count(engine, TraceBody), speaking(engine)) == (before, [2], 2)
    with transaction(engine, write=False) as opened:
        assert opened.execute(select(func.sum(Trace.cost_nano), func.sum(Trace.tokens_in))).one() == (25, 35)


def test_without_figures_calls_go_whole_and_the_sums_stay(configure: Configure, engine: Engine) -> None:
    """Nothing tells any more that there was a call, but what they cost in all."""
    store(engine, [*said(3, 8), *said(2, 6)])
    before = count(engine, UsageRollup, SpendRollup)
    configure("retentionwipe", max_age="7d", keep_figures=False)
    wipe(engine)
    assert count(engine, Trace, TraceBody, TraceTag) == [2, 2, 2]
    assert count(engine, UsageRollup, SpendRollup) == before
    assert [entry["calls_deleted"] for entry in told(engine)] == [3]


@SQLITE
def test_while_it_is_off_nothing_is_touched(configure: Configure, engine: Engine) -> None:
    """A module that was never asked for must take nothing."""
    store(engine, said(3, 5_000))
    wipe(engine)
    configure("retentionwipe", enabled=False, max_age="1d")
    wipe(engine)
    assert (speaking(engine), told(engine)) == (3, [])


def test_a_turn_that_wiped_is_told_of_once(configure: Configure, engine: Engine, admin: Caller) -> None:
    """With counts and the oldest that was left, in the chained ledger; a turn that found nothing says nothing."""
    store(engine, [*said(3, 8), *said(1, 6), *said(1, 5), *said(2, 9, error=None, details={}, request_body=None)])
    configure("retentionwipe", max_age="7d")
    for _ in range(3):
        wipe(engine)
    [entry] = told(engine)
    with transaction(engine, write=False) as opened:
        oldest = opened.scalar(select(func.min(Trace.created_at)).where(Trace.error.is_not(None)))
    assert entry["calls_emptied"] == 5
    assert entry["oldest_left"] == rfc3339(oldest)
    assert oldest is not None
    assert entry["older_than"] < entry["oldest_left"]
    stats = admin.get("/api/proxy/modules/retentionwipe").json()["stats"]
    assert stats["wiped"] == {"calls_emptied": 5}
    assert stats["wiped_at"]
    assert stats["emptied_up_to"] < entry["older_than"]


def test_calls_that_come_late_are_found(configure: Configure, engine: Engine) -> None:
    """Recorded by hand with a moment long ago, or brought back from a spool: after older ones were gone through."""
    configure("retentionwipe", max_age="7d")
    store(engine, said(3, 8))
    wipe(engine)
    store(engine, [*said(2, 20), *said(1, 8), *said(1, 1), *said(1, 0, created_at=micros(EPOCH))])
    wipe(engine)
    assert (speaking(engine), [entry["calls_emptied"] for entry in told(engine)]) == (1, [3, 4])


@SQLITE
def test_many_of_one_moment_and_many_that_come_late_go_in_bounded_batches(
    configure: Configure, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import has one moment for all; no transaction may take them all, and none is left out."""
    monkeypatch.setattr(calls, "BATCH", 10)
    monkeypatch.setattr(calls, "SPAN", 7)
    sizes, emptied = [], calls._emptied

    def noted(session: Any, numbers: Any) -> Any:
        sizes.append(len(numbers))
        return emptied(session, numbers)

    monkeypatch.setattr(calls, "_emptied", noted)
    configure("retentionwipe", max_age="7d")
    one = micros(now() - timedelta(days=9))
    store(engine, said(35, 9, created_at=one))
    wipe(engine)
    store(engine, [*said(12, 9, created_at=one), *said(20, 10), *said(30, 0)])
    wipe(engine)
    assert (speaking(engine), max(sizes), sum(sizes)) == (30, 10, 67)


@SQLITE
def test_what_holds_nothing_any_more_is_not_looked_at_again(
    configure: Configure, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A year of figures must not be read every hour."""
    configure("retentionwipe", max_age="7d")
    store(engine, [*said(30, 8), *said(2, 1)])
    wipe(engine)
    seen: list[int] = []
    emptied = calls._emptied
    monkeypatch.setattr(calls, "_emptied", lambda s, numbers: (seen.extend(numbers), emptied(s, numbers))[1])
    store(engine, said(1, 8))
    wipe(engine)
    assert len(seen) == 1


@SQLITE
def test_the_age_in_force_is_asked_for_at_each_turn(configure: Configure, engine: Engine) -> None:
    """Shorter, longer and shorter again: what is past it then is gone, and nothing else."""
    store(engine, [*said(1, 20), *said(1, 5.5), *said(1, 4)])
    left = []
    for age in ("10d", "5d", "30d"):
        configure("retentionwipe", max_age=age)
        wipe(engine)
        left.append(speaking(engine))
    store(engine, [*said(1, 6), *said(1, 40)])
    wipe(engine)
    left.append(speaking(engine))
    configure("retentionwipe", max_age="5d")
    wipe(engine)
    assert [*left, speaking(engine)] == [2, 1, 1, 2, 1]


def test_a_worker_that_ends_leaves_the_rest_to_the_next_and_nothing_untold(
    configure: Configure, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had taken is in the entry of the turn that went on."""
    monkeypatch.setattr(calls, "BATCH", 4)
    configure("retentionwipe", max_age="7d")
    store(engine, said(10, 8))
    with pytest.raises(Stopping):
        wipe(engine, stopping=True)
    assert (speaking(engine), told(engine)) == (6, [])
    wipe(engine)
    assert [entry["calls_emptied"] for entry in told(engine)] == [10]


@pytest.mark.parametrize("figures", [True, False])
def test_workers_at_once_take_each_call_once(
    configure: Configure, engine: Engine, monkeypatch: pytest.MonkeyPatch, *, figures: bool
) -> None:
    """Whatever each of them took, the ledger's counts come to what there was."""
    monkeypatch.setattr(calls, "BATCH", 7)
    configure("retentionwipe", max_age="7d", keep_figures=figures)
    store(engine, [*said(60, 8), *said(5, 1)])
    at_once(*(lambda: wipe(engine) for _ in range(3)))
    name = calls.EMPTIED if figures else calls.DELETED
    assert (speaking(engine), sum(entry[name] for entry in told(engine))) == (5, 60)


def test_other_keepers_of_words_are_wiped_too(configure: Configure, engine: Engine) -> None:
    """Conversations, kept answers, previews and webhooks' bodies; what is young, or still on its way, stays."""
    store(engine, [*said(1, 3, details={"guardrails": [FOUND]}), *said(1, 0, details={"guardrails": [FOUND]})])
    old, new = now() - timedelta(hours=30), now()
    with transaction(engine) as session:
        user = session.scalar(select(User.id)) or 0
        session.add_all(ChatMemory(user_id=user, project=p, turns=[], updated_at=at) for p, at in pairs(old, new))
        session.add_all(kept(p, at, b"x") for p, at in pairs(old, new))
        session.add_all(held_call(created_at=at) for at in (old, new))
        session.add(kept("running", old, None))
        session.add(hook := Webhook(url="http://127.0.0.1:9/", events=["*"]))
        session.flush()
        states = [("a", old, "delivered"), ("b", old, "failed"), ("c", old, "pending"), ("d", new, "delivered")]
        session.add_all(message(hook.id, *state) for state in states)
    configure("retentionwipe", max_age="1d")
    wipe(engine)
    assert count(engine, ChatMemory, IdempotentCall, WebhookMessage) == [1, 2, 4]
    with transaction(engine, write=False) as opened:
        bodies = opened.scalars(select(WebhookMessage.body).order_by(WebhookMessage.uid)).all()
        shown = opened.scalars(select(GuardrailEvent.preview).order_by(GuardrailEvent.created_at)).all()
        held = opened.scalars(select(HeldCall.preview).order_by(HeldCall.id)).all()
    assert (bodies, shown, held) == (["", "", "{}", "{}"], ["", "sk…42"], ["", "drop it"])
    [entry] = told(engine)
    names = ("conversations", "kept_answers", "previews", "webhook_bodies")
    assert [entry[name] for name in names] == [1, 1, 2, 2]


def pairs(*moments: Any) -> list[tuple[str, Any]]:
    """Each moment with a name."""
    return [(f"n{at}", moment) for at, moment in enumerate(moments)]


def kept(name: str, began: Any, sealed: bytes | None) -> IdempotentCall:
    """An answer kept, or on its way."""
    later = now() + timedelta(hours=1)
    return IdempotentCall(
        id=name, fingerprint="f", holder="h", began_at=began, expires_at=later, size=1, sealed_answer=sealed
    )


def message(hook: int, uid: str, moment: Any, status: str) -> WebhookMessage:
    """One of the outbox."""
    return WebhookMessage(
        uid=uid, webhook_id=hook, event_type="trace.error", body="{}", status=status, created_at=moment
    )


@SQLITE
@pytest.mark.settings(engine="on")
def test_it_works_by_itself_beside_the_requests(configure: Configure, engine: Engine, client: Client) -> None:
    """A wipe that must be asked for does not happen."""
    configure("retentionwipe", max_age="1d")
    store(engine, said(3, 2))
    deadline = time.monotonic() + 20
    while speaking(engine) and time.monotonic() < deadline:
        with transaction(engine) as opened:
            due = update(EngineSchedule).where(EngineSchedule.name == "retentionwipe")
            opened.execute(due.values(next_at=now()))
        time.sleep(0.3)
    assert speaking(engine) == 0


@pytest.mark.parametrize("config", [{"max_age": "soon"}, {"max_age": -1}, {"keep_figures": "yes"}, {"age": "1d"}])
def test_settings_that_cannot_be_used_are_refused(admin: Caller, config: Json) -> None:
    """By the catalogue, before anything is taken."""
    assert admin.put("/api/proxy/modules/retentionwipe", json={"config": config}).status_code == 400
