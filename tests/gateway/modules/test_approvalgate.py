"""Calls that wait for a person: held, decided on, out of time, repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.factory import create
from app.settings import Settings
from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL, text_of
from gateway.upstream import Upstream
from models.approvals import HeldCall
from models.base import now, transaction
from stockyard.conftest import ada
from support.approvals import Desk, desk_of
from support.callers import Caller, Client
from support.databases import Template
from support.envelopes import Refusals
from support.people import Person
from support.receiver import receiving

__all__ = ["ada"]

Configure = Callable[..., None]
Json = dict[str, Any]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
ONE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
RISKY = "Please DROP  TABLE invoices"
DROPS = r"\bdrop\s+table\b"


@pytest.fixture
def desk(admin: Caller) -> Iterator[Desk]:
    """The operator's."""
    with desk_of(admin.get, admin.post) as opened:
        yield opened


@pytest.fixture
def gate(configure: Configure) -> Callable[..., None]:
    """Switches the module on."""

    def switch(**config: Any) -> None:
        configure("approvalgate", **{"patterns": [DROPS], "timeout": "20s"} | config)

    return switch


def approved(desk: Desk, call: Callable[..., Any], *words: Any, **options: Any) -> Any:
    """The answer to a call that was held and let go on."""
    asked = desk.begin(call, *words, **options)
    [held] = desk.waiting()
    assert desk.decide(held["id"], "approve").status_code == 200
    return asked.result(10)


def rejected(desk: Desk, call: Callable[..., Any], *words: Any, **options: Any) -> Json:
    """What is shown of a call that was held and refused."""
    asked = desk.begin(call, *words, **options)
    [held] = desk.waiting()
    assert desk.decide(held["id"], "reject").status_code == 200
    assert asked.result(10).status_code == 403
    return held


def change(client: Client, **values: Any) -> None:
    """Change every call that was held, as time or a crash would."""
    with transaction(client.application.runtime.engine) as opened:
        opened.execute(update(HeldCall).values(values))


@BOTH
def test_a_call_goes_on_once_a_person_approves(
    gate: Callable[..., None], desk: Desk, ask: Ask, upstream: Upstream, traces: Any, stream: bool
) -> None:
    """And not before; streamed or not, the answer is as it would have been."""
    gate()
    asked = desk.begin(ask, MODEL, RISKY, stream=stream, headers={"x-project": "shop"})
    [held] = desk.waiting()
    about = {name: held[name] for name in ("status", "reason", "rule", "project", "model", "operation", "stream")}
    assert about == {"status": "waiting", "reason": "pattern", "rule": DROPS} | {
        "project": "shop",
        "model": MODEL,
        "operation": "chat",
        "stream": stream,
    }
    assert (held["preview"], held["user_id"] > 0, held["cost_usd"] > 0) == (RISKY, True, True)
    assert not asked.done()
    assert upstream.seen(MODEL) == []
    shown = desk.decide(held["id"], "approve", "for today").json()
    assert (shown["status"], shown["note"], shown["decided_by"]) == ("approved", "for today", "admin")
    answer = asked.result(10)
    assert answer.status_code == 200
    assert text_of(answer).startswith("The train")
    assert len(upstream.seen(MODEL)) == 1
    [trace] = traces(1)
    assert trace["id"] == held["trace_id"]
    assert "waited_ms" in str(trace["details"])
    assert desk.counted() == {"held": 1, "approved": 1}


@BOTH
def test_a_rejected_call_is_refused_for_good(
    gate: Callable[..., None], desk: Desk, ask: Ask, upstream: Upstream, refused: Refusals, stream: bool
) -> None:
    """With what the operator said, whatever happens to calls nobody decides on; no client tries it again by itself."""
    gate(on_timeout="pass")
    asked = desk.begin(ask, MODEL, RISKY, stream=stream)
    [held] = desk.waiting()
    assert desk.decide(held["id"], "reject", "not on a Friday").json()["status"] == "rejected"
    answer = asked.result(10)
    details = refused(answer, 403, "forbidden")["error"]["details"]
    told = {"approval": held["id"], "status": "rejected", "note": "not on a Friday"}
    assert details == {"reason": "approvalgate"} | told
    assert answer.headers["x-should-retry"] == "false"
    assert upstream.seen(MODEL) == []
    rejected(desk, ask, MODEL, RISKY, stream=stream)
    assert desk.counted() == {"held": 2, "rejected": 2}


def test_nobody_is_asked_about_other_calls(gate: Callable[..., None], desk: Desk, ask: Ask) -> None:
    """Whoever has to approve everything approves everything."""
    gate(models=["gpt-4o*"], projects=["shop*"])
    shop = {"x-project": "shop"}
    assert ask(MODEL, "hello", headers=shop).status_code == 200
    assert ask("llama-3.1-8b-instant", RISKY, headers=shop).status_code == 200
    assert ask(MODEL, RISKY).status_code == 200
    assert desk.counted() == {}


@ONE
def test_a_model_alone_can_be_reason_enough(
    gate: Callable[..., None], desk: Desk, ask: Ask, configure: Configure
) -> None:
    """Under every name it has, and where several are asked at once; a module without reasons asks nobody."""
    gate(patterns=[])
    assert ask(MODEL, RISKY).status_code == 200
    configure("modelalias", aliases=[{"alias": "house", "model": "gpt-4o"}])
    configure("multicall", routes=[{"name": "race", "models": [MODEL, "gpt-4o"]}])
    gate(patterns=[], models=["gpt-4o"])
    assert ask(MODEL).status_code == 200
    for model, headers in (("house", {}), ("openai/gpt-4o", {}), (MODEL, {"X-MultiCall-Route": "race"})):
        held = rejected(desk, ask, model, headers=headers)
        assert (held["reason"], held["rule"], held["preview"]) == ("scope", "", "hello")
    assert held["model"] == f"{MODEL}, gpt-4o"


@ONE
def test_a_dear_call_needs_approval(gate: Callable[..., None], desk: Desk, ask: Ask) -> None:
    """By what it may cost at most; one whose price nobody knows may be dear, too."""
    gate(patterns=[], min_cost=0.05)
    assert ask(MODEL, max_tokens=10).status_code == 200
    held = rejected(desk, ask, "gpt-4o", max_tokens=16_000)
    assert held["reason"] == "cost"
    assert 0.1 < held["cost_usd"] < 1
    assert "cost_usd" not in rejected(desk, ask, "gpt-nobody-knows", max_tokens=10)
    gate(patterns=[], min_cost=0.05, unpriced="pass")
    assert ask("gpt-nobody-knows", max_tokens=10).status_code == 200


def test_nobody_decides_in_time(gate: Callable[..., None], ask: Ask, desk: Desk, refused: Refusals) -> None:
    """Then the settings do: refused, or passed, and no decision can come after it."""
    gate(timeout="300ms")
    began = time.monotonic()
    answer = ask(MODEL, RISKY)
    assert 0.3 <= time.monotonic() - began < 5
    assert refused(answer, 403, "forbidden")["error"]["details"]["status"] == "expired"
    assert answer.headers["x-should-retry"] == "false"
    [held] = desk.ended("expired")
    refused(desk.decide(held["id"], "approve"), 409, "conflict")
    gate(timeout="300ms", on_timeout="pass")
    assert ask(MODEL, RISKY).status_code == 200
    assert len(desk.ended("expired", 2)) == 2
    assert desk.counted() == {"held": 2, "expired": 2}


def test_an_approved_call_may_be_repeated(
    gate: Callable[..., None], desk: Desk, ask: Ask, client: Client, ada: Person
) -> None:
    """By its caller, as it was, plain or streamed, for as long as the settings say; anything else is asked about."""
    gate(remember="1h")
    assert approved(desk, ask, MODEL, RISKY).status_code == 200
    assert ask(MODEL, RISKY).status_code == 200
    assert text_of(ask(MODEL, RISKY, stream=True)).startswith("The train")
    assert desk.counted() == {"held": 1, "approved": 1, "remembered": 2}
    rejected(desk, ada.caller.post, "/v1/chat/completions", json=chat(MODEL, RISKY))
    rejected(desk, ask, MODEL, f"{RISKY} now")
    rejected(desk, ask, MODEL, RISKY, temperature=0.5)
    rejected(desk, ask, "gpt-4o", RISKY)
    rejected(desk, ask, MODEL, RISKY, headers={"x-project": "other"})
    change(client, ended_at=now() - timedelta(minutes=61))
    rejected(desk, ask, MODEL, RISKY)
    gate(remember="0s")
    approved(desk, ask, MODEL, RISKY)
    rejected(desk, ask, MODEL, RISKY)


@ONE
def test_an_earlier_turn_need_not_be_approved_again(gate: Callable[..., None], desk: Desk, ask: Ask) -> None:
    """Where the operator says so; an answer that the caller begins themselves hides nothing."""
    turns = [{"role": "user", "content": RISKY}, {"role": "assistant", "content": "Done"}]
    more = [*turns, {"role": "user", "content": "Thanks"}]
    gate()
    rejected(desk, ask, MODEL, messages=more)
    gate(look_into="latest")
    assert ask(MODEL, messages=more).status_code == 200
    rejected(desk, ask, MODEL, messages=turns)
    rejected(desk, ask, MODEL, messages=[*more, *turns])
    assert desk.counted() == {"held": 3, "rejected": 3}


@ONE
def test_every_wire_is_watched(gate: Callable[..., None], desk: Desk, user: Caller) -> None:
    """Whichever way a prompt comes, system messages and tools' results included."""
    gate()
    wires: list[tuple[str, Json]] = [
        ("/v1/messages", {"max_tokens": 9, "system": RISKY, "messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/responses", {"input": RISKY}),
        ("/v1/completions", {"prompt": ["hi", RISKY]}),
        ("/v1/embeddings", {"input": RISKY}),
        ("/v1/chat/completions", {"messages": [{"role": "tool", "tool_call_id": "a", "content": RISKY}]}),
    ]
    found = [rejected(desk, user.post, path, json={"model": MODEL} | body)["operation"] for path, body in wires]
    assert found == ["chat", "chat", "completions", "embeddings", "chat"]


def test_a_prompt_is_shown_in_part_and_without_secrets(
    gate: Callable[..., None], desk: Desk, ask: Ask, client: Client
) -> None:
    """Around what was found; of the rest, and of keys and personal data, nothing is stored."""
    gate(preview=120)
    told = "Mail ada@example.com or 212-555-0147, card 4111 1111 1111 1111, key sk-abcdefghijklmnop1234: "
    rejected(desk, ask, MODEL, "far away " * 500 + told + RISKY + " and then" * 500)
    [held] = desk.listed()
    assert held["preview"].startswith("…")
    assert held["preview"].endswith("…")
    assert "DROP  TABLE invoices and then" in held["preview"]
    assert len(held["preview"]) == 122
    with transaction(client.application.runtime.engine, write=False) as opened:
        row = str(opened.execute(select(HeldCall.__table__)).all())
    assert not [text for text in ("ada@", "555", "4111", "abcdefgh") if text in row]
    assert len(row) < 800


@ONE
def test_what_stands_beside_a_finding_is_hidden(gate: Callable[..., None], desk: Desk, ask: Ask) -> None:
    """Each by its kind, so that whoever decides knows what was there; a number that is no card stays."""
    gate()
    told = "Mail ada@example.com, 212-555-0147, card 4111 1111 1111 1111, no. 1234 5678 9012 3456, sk-abcdefghijk123"
    held = rejected(desk, ask, MODEL, f"{told}: {RISKY}")
    shown = "Mail [email], [phone], card [credit_card], no. 1234 5678 9012 3456, [redacted]: "
    assert held["preview"] == shown + RISKY


def test_where_traces_keep_no_prompts_a_piece_goes_with_the_wait(
    gate: Callable[..., None], desk: Desk, ask: Ask, configure: Configure
) -> None:
    """However the wait ends; who must decide still sees something."""
    configure("logging", store_bodies=False)
    gate()
    assert rejected(desk, ask, MODEL, RISKY)["preview"] == RISKY
    gate(timeout="200ms")
    ask(MODEL, RISKY)
    gate(preview=0)
    rejected(desk, ask, MODEL, RISKY)
    assert [held["preview"] for held in desk.listed()] == ["", "", ""]


def test_a_decision_reaches_a_call_in_another_worker(
    gate: Callable[..., None], desk: Desk, ask: Ask, settings: Settings, document: Json, backend: Template
) -> None:
    """Within a second, whichever worker the operator happens to ask."""
    gate()
    with Client(create(settings, document), backend.keys) as other:
        for act, status in (("approve", 200), ("reject", 403)):
            asked = desk.begin(ask, MODEL, f"{RISKY} to {act}")
            [held] = desk.waiting()
            began = time.monotonic()
            assert other.admin.post(f"/api/proxy/approvals/{held['id']}/{act}").status_code == 200
            assert asked.result(10).status_code == status
            assert time.monotonic() - began < 1


@ONE
def test_too_many_cannot_wait(gate: Callable[..., None], desk: Desk, ask: Ask, refused: Refusals) -> None:
    """Each holds a connection; who comes later is told to come back, and nobody else is held up."""
    gate(max_waiting=2)
    asked = [desk.begin(ask, MODEL, f"{RISKY} {n}") for n in range(2)]
    held = desk.waiting(2)
    answer = ask(MODEL, RISKY)
    assert refused(answer, 429, "rate_limited")["error"]["details"] == {"reason": "approvalgate"}
    assert answer.headers["retry-after"] == "30"
    assert ask(MODEL, "hello").status_code == 200
    for row in held:
        desk.decide(row["id"], "approve")
    assert [call.result(10).status_code for call in asked] == [200, 200]
    assert desk.counted() == {"held": 2, "approved": 2, "turned_away": 1}


@ONE
def test_time_spent_waiting_is_not_the_calls(
    gate: Callable[..., None], desk: Desk, ask: Ask, configure: Configure
) -> None:
    """A call may run for a second; that a person took longer is no fault of it."""
    configure("idlekill", max_duration="1s")
    gate()
    asked = desk.begin(ask, MODEL, RISKY)
    [held] = desk.waiting()
    time.sleep(1.2)
    desk.decide(held["id"], "approve")
    assert asked.result(10).status_code == 200


@ONE
@pytest.mark.settings(outbound_allow="127.0.0.1")
def test_an_address_is_told_that_a_call_waits(gate: Callable[..., None], desk: Desk, ask: Ask) -> None:
    """So that somebody comes; nothing of the prompt leaves. An address that does not answer holds nobody up."""
    with receiving() as receiver:
        gate(webhook=receiver.url)
        held = rejected(desk, ask, MODEL, RISKY)
        [post] = receiver.of("approval.waiting")
    about = {"id": held["id"], "reason": "pattern", "project": "default", "model": MODEL, "operation": "chat"}
    assert {name: post.body["data"][name] for name in about} == about
    assert "invoices" not in post.raw.decode()
    rejected(desk, ask, MODEL, RISKY)
    assert desk.counted() == {"held": 2, "rejected": 2, "told": 1, "untold": 1}
