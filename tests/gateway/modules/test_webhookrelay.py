"""Relays: webhooks of others, proven to be theirs, each answered once by a model and told of with what it said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from standardwebhooks.webhooks import Webhook as Standard

from app.factory import Application
from app.services.relays import carrying
from app.services.relays.carrying import Carrying
from gateway.upstream import Upstream
from models.base import now, transaction
from models.gateway import ModuleState
from models.identity import User
from models.relays import RelayDelivery
from support.callers import Caller, Client
from support.envelopes import Refusals
from support.receiver import Receiver, receiving
from support.together import at_once

ANSWERING = pytest.mark.settings(engine="on", outbound_allow="127.0.0.1")
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Json = dict[str, Any]
Traces = Callable[..., list[Json]]
NAME = "webhookrelay"
MODULE = f"/api/proxy/modules/{NAME}"
MODEL = "gpt-4o-mini"
SECRET, OTHER = "whsec_" + "QUFB" * 8, "whsec_" + "QkJC" * 8
PROMPT = "Sum up: {{data.title}} ({{data.lines.1}}{{data.gone}}), by {{data.by}}"
TOLD: Json = {"type": "ticket.created", "data": {"title": "It is {{type}}", "lines": [1, 2], "by": "Ada"}}


@pytest.fixture
def charged(user: Caller) -> int:
    """The account that is charged."""
    return int(user.get("/api/auth/me").json()["id"])


@pytest.fixture
def relay(admin: Caller, charged: int) -> Callable[..., Json]:
    """Sets relays as an operator does: `relay(model="gpt-4o")`; the answer."""

    def put(per_minute: int = 60, *, enabled: bool = True, **more: Any) -> Json:
        one = {
            "name": "tickets",
            "secret": SECRET,
            "prompt": PROMPT,
            "model": MODEL,
            "user": charged,
            "project": "desk",
        }
        config = {"relays": [one | more, one | {"name": "other", "secret": OTHER}], "per_minute": per_minute}
        answer = admin.put(MODULE, json={"enabled": enabled, "config": config})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    return put


@pytest.fixture
def send(client: Client) -> Callable[..., Any]:
    """Sends a payload as a third party: `send(TOLD, "msg_1", name="other", secret=OTHER)`."""

    def post(payload: Any = TOLD, message: str = "msg_1", *, name: str = "tickets", **signed: Any) -> Any:
        raw = json.dumps(payload)
        headers = signature(raw, message, **signed) | {"content-type": "application/json"}
        return client.anonymous.post(f"/api/relays/{name}", content=raw, headers=headers)

    return post


def signature(raw: str, message: str, secret: str = SECRET, at: datetime | None = None) -> dict[str, str]:
    """The headers of somebody else's implementation."""
    moment = at or now()
    signed = Standard(secret).sign(message, moment, raw)
    return {"webhook-id": message, "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": signed}


@pytest.fixture
def receiver(admin: Caller) -> Iterator[Receiver]:
    """A receiver of what relays tell."""
    with receiving() as started:
        assert admin.post("/api/webhooks", json={"url": started.url, "events": ["relay.*"]}).status_code == 201
        yield started


def rows(application: Application) -> list[RelayDelivery]:
    """What is stored."""
    with transaction(application.runtime.engine, write=False) as opened:
        return list(opened.scalars(select(RelayDelivery)))


def stats(admin: Caller) -> Json:
    """What the module counted."""
    return dict(admin.get(MODULE).json()["stats"])


@ANSWERING
def test_a_webhook_is_answered_by_a_model(
    relay: Callable[..., Json],
    send: Callable[..., Any],
    receiver: Receiver,
    upstream: Upstream,
    traces: Traces,
    charged: int,
) -> None:
    """Taken at once; the call is its account's, priced and traced, and its answer an event that names both."""
    relay(max_tokens=77)
    upstream.script(MODEL, {"text": "It works again."})
    answer = send()
    assert answer.status_code == 202, answer.text
    told = answer.json()
    data = receiver.of("relay.answered")[0].body["data"]
    [trace] = traces(1)
    shared = {"relay": "tickets", "id": told["id"], "message": "msg_1", "model": MODEL, "project": "desk"}
    assert data == shared | {"trace_id": trace["id"], "answer": "It works again.", "truncated": False}
    assert told == {"status": "accepted", "relay": "tickets", "id": data["id"]}
    assert (trace["user_id"], trace["project"], trace["tags"]) == (charged, "desk", {"relay": "tickets"})
    assert (trace["request_id"], trace["cost_nano"] > 0) == (told["id"], True)
    [asked] = upstream.seen(MODEL)
    assert asked["body"]["messages"] == [{"role": "user", "content": "Sum up: It is {{type}} (2), by Ada"}]
    assert asked["body"]["max_tokens"] == 77


@ANSWERING
def test_what_comes_again_is_answered_as_it_was(
    relay: Callable[..., Json],
    send: Callable[..., Any],
    receiver: Receiver,
    upstream: Upstream,
    admin: Caller,
) -> None:
    """Eight times at once, and once more with another body: one call, one event. Relays share no ids."""
    relay()
    answers = at_once(*[send] * 8)
    receiver.of("relay.answered")
    answers.append(send(TOLD | {"data": {}}))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert send(name="other", secret=OTHER).json()["id"] != answers[0].json()["id"]
    receiver.of("relay.answered", 2)
    assert len(upstream.seen(MODEL)) == len(receiver.posts) == 2
    assert stats(admin) == {"waiting": 0, "answered": 2, "failed": 0}


@SQLITE
def test_only_its_sender_is_believed(
    relay: Callable[..., Json], send: Callable[..., Any], client: Client, application: Application, refused: Refusals
) -> None:
    """By the relay's own secret, over the very body, within five minutes; one good signature of several will do."""
    relay()
    late, early = now() - timedelta(seconds=310), now() + timedelta(seconds=310)
    for wrong in ({"secret": OTHER}, {"at": late}, {"at": early}, {"name": "other"}):
        refused(send(**wrong), 401)
    raw = json.dumps(TOLD)
    good = signature(raw, "msg_1") | {"content-type": "application/json"}
    spoilt = [good | {"webhook-id": "msg_2"}, good | {"webhook-signature": good["webhook-signature"][:-4]}]
    spoilt += [good | {"webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)}]
    spoilt += [{k: v for k, v in good.items() if k != name} for name in good if name.startswith("webhook-")]
    for headers in spoilt:
        refused(client.anonymous.post("/api/relays/tickets", content=raw, headers=headers), 401)
    refused(client.anonymous.post("/api/relays/tickets", content=raw + " ", headers=good), 401)
    assert rows(application) == []
    both = good | {"webhook-signature": f"v1,AAAA v1a,zzz {good['webhook-signature']}"}
    assert client.anonymous.post("/api/relays/tickets", content=raw, headers=both).status_code == 202


@SQLITE
def test_what_is_not_there_is_not_found(
    relay: Callable[..., Json], send: Callable[..., Any], refused: Refusals
) -> None:
    """A relay nobody set, or the module off: whoever asks learns nothing."""
    refused(send(), 404)
    relay()
    refused(send(name="nobody"), 404)
    relay(enabled=False)
    refused(send(), 404)


@SQLITE
def test_a_relay_takes_so_much_and_so_many(
    relay: Callable[..., Json],
    send: Callable[..., Any],
    application: Application,
    refused: Refusals,
    upstream: Upstream,
) -> None:
    """A body of 256 KiB, a prompt that can be asked, and so many a minute, each relay by itself."""
    relay(per_minute=2)
    refused(send(TOLD | {"more": "x" * 262_144}), 413)
    assert [send(message=f"msg_{number}").status_code for number in (1, 2)] == [202, 202]
    limited = send(message="msg_3")
    refused(limited, 429)
    assert 1 <= int(limited.headers["retry-after"]) <= 61
    assert send(message="msg_2").status_code == 202
    assert send(name="other", secret=OTHER).status_code == 202
    assert len(rows(application)) == 3
    relay(prompt="{{data}}{{data}}")
    refused(send({"data": "x" * 200_000}, "msg_4"), 422)
    deep: Any = {}
    for _ in range(400):
        deep = [deep]
    refused(send({"data": deep}, "msg_5"), 422)


@SQLITE
def test_types_that_are_not_taken_ask_nobody(
    relay: Callable[..., Json], send: Callable[..., Any], application: Application
) -> None:
    """And say so; a pattern takes what it says."""
    relay(events=["ticket.*"])
    for payload in (TOLD | {"type": "invoice.paid"}, {"data": {}}, {"type": ["ticket.created"]}):
        assert send(payload).json() == {"status": "ignored", "relay": "tickets"}
    assert rows(application) == []
    assert send().json()["status"] == "accepted"


@SQLITE
@ANSWERING
def test_secrets_and_payloads_stay_shut(
    relay: Callable[..., Json],
    send: Callable[..., Any],
    admin: Caller,
    application: Application,
    receiver: Receiver,
    upstream: Upstream,
) -> None:
    """The secret is never shown nor stored as it is; what was received is sealed, and gone once it is answered."""
    upstream.script(MODEL, {"delay": 0.3})
    assert "QUFB" not in json.dumps(relay()) + admin.get(MODULE).text
    send()
    [row] = rows(application)
    assert row.sealed_prompt is not None
    with transaction(application.runtime.engine, write=False) as opened:
        held = str(opened.scalar(select(ModuleState.config).where(ModuleState.name == NAME)))
    assert "QUFB" not in held
    assert "Ada" not in str(vars(row))
    receiver.of("relay.answered")
    assert [row.sealed_prompt for row in rows(application)] == [None]


@SQLITE
def test_an_operator_may_leave_secrets_out_of_a_change(
    relay: Callable[..., Json], send: Callable[..., Any], admin: Caller
) -> None:
    """They stay those that were held."""
    relay()
    assert admin.put(MODULE, json={"config": {"per_minute": 9}}).status_code == 200
    assert send().status_code == 202


WRONG = ({"name": "a b"}, {"secret": "secret"}, {"user": 0}, {"project": " x"}, {"prompt": ""}, {"target": "x"})


@SQLITE
def test_settings_that_cannot_be_are_refused(
    relay: Callable[..., Json], admin: Caller, charged: int, refused: Refusals
) -> None:
    """And change nothing."""
    relay()
    before = admin.get(MODULE).json()["config"]
    good = {"name": "tickets", "secret": SECRET, "prompt": PROMPT, "model": MODEL, "user": charged}
    for wrong in WRONG:
        refused(admin.put(MODULE, json={"config": {"relays": [good | wrong]}}), 400)
    twice = admin.put(MODULE, json={"config": {"relays": [good, good | {"secret": OTHER}]}})
    assert "relays[1].name must be a valid name that no relay before has" in twice.text
    assert admin.get(MODULE).json()["config"] == before


@SQLITE
@ANSWERING
def test_a_call_that_is_refused_is_told_of(
    relay: Callable[..., Json], send: Callable[..., Any], receiver: Receiver, upstream: Upstream, admin: Caller
) -> None:
    """Once, with the reason and the trace; nobody asks again what was refused for good."""
    relay()
    upstream.script(MODEL, {"status": 400, "error": {"message": "no such model"}})
    told = send().json()
    [failed] = receiver.of("relay.failed")
    data = failed.body["data"]
    assert (data["id"], data["message"]) == (told["id"], "msg_1")
    assert "no such model" in data["error"]
    assert data["trace_id"].startswith("tr_")
    assert (len(upstream.seen(MODEL)), stats(admin)["failed"]) == (1, 1)


@SQLITE
@ANSWERING
def test_a_call_that_fails_for_now_has_another_turn(
    relay: Callable[..., Json],
    send: Callable[..., Any],
    receiver: Receiver,
    upstream: Upstream,
    configure: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A few, further and further apart; then it is told of as failed, once."""
    monkeypatch.setattr(carrying, "WAITS", (timedelta(milliseconds=10),) * 2)
    configure("retrypilot", max_retries=0)
    configure("failover", enabled=False)
    relay()
    upstream.script(MODEL, {"status": 503}, {"text": "Later."})
    send()
    assert receiver.of("relay.answered")[0].body["data"]["answer"] == "Later."
    upstream.script(MODEL, {"status": 503})
    send(message="msg_2")
    assert receiver.of("relay.failed")[0].body["data"]["message"] == "msg_2"
    assert (len(upstream.seen(MODEL)), len(receiver.posts)) == (5, 2)


@ANSWERING
def test_an_answer_is_paid_for_once_though_its_worker_stumbles(
    relay: Callable[..., Json],
    send: Callable[..., Any],
    receiver: Receiver,
    upstream: Upstream,
    traces: Traces,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the answer and its event: the next turn gets the same answer, and asks nobody."""
    noted, stumbled = Carrying._note, []

    def stumble(self: Carrying, *told: Any) -> None:
        if not stumbled:
            stumbled.append(told)
            raise OperationalError("away", {}, Exception())
        noted(self, *told)

    monkeypatch.setattr(Carrying, "_note", stumble)
    relay()
    send()
    data = receiver.of("relay.answered")[0].body["data"]
    [trace] = traces(1)
    assert (data["trace_id"], len(stumbled)) == (trace["id"], 1)
    assert len(upstream.seen(MODEL)) == 1


@SQLITE
def test_an_account_that_is_gone_or_idle_pays_for_nothing(
    relay: Callable[..., Json],
    send: Callable[..., Any],
    application: Application,
    charged: int,
    refused: Refusals,
    upstream: Upstream,
) -> None:
    """Whoever sends is asked to come again, until the operator has looked."""
    relay(user=999_999)
    refused(send(), 503)
    relay()
    with transaction(application.runtime.engine) as opened:
        opened.execute(update(User).where(User.id == charged).values(is_active=False))
    answer = send()
    refused(answer, 503)
    assert answer.headers["retry-after"] == "60"
    assert (rows(application), upstream.seen(MODEL)) == ([], [])


@SQLITE
@ANSWERING
def test_a_budget_holds_for_relays_too(
    relay: Callable[..., Json],
    send: Callable[..., Any],
    receiver: Receiver,
    upstream: Upstream,
    configure: Callable[..., None],
) -> None:
    """What its project may not spend it does not, and nobody waits for tomorrow to be told."""
    configure("costcap", projects=[{"project": "desk", "daily": 0.000001}])
    relay()
    send()
    assert receiver.of("relay.failed")[0].body["data"]["trace_id"]
    assert upstream.seen(MODEL) == []


@SQLITE
@ANSWERING
def test_what_ended_a_month_ago_is_forgotten(
    relay: Callable[..., Json], send: Callable[..., Any], receiver: Receiver, application: Application
) -> None:
    """And nothing that waits."""
    relay()
    send()
    receiver.of("relay.answered")
    engine = application.runtime.engine
    with transaction(engine) as opened:
        opened.execute(update(RelayDelivery).values(created_at=now() - timedelta(days=31), status="waiting"))
    Carrying(engine).sweep(None)  # type: ignore[arg-type]
    assert len(rows(application)) == 1
    with transaction(engine) as opened:
        opened.execute(update(RelayDelivery).values(status="answered"))
    Carrying(engine).sweep(None)  # type: ignore[arg-type]
    assert rows(application) == []
