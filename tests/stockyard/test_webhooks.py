"""Webhooks: told of what happened, provably by us, again until taken, and never where the operator would not go."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from standardwebhooks.webhooks import WebhookVerificationError

from app.factory import Application
from app.security.sealing import unseal
from app.services.webhooks import EVENTS, sending
from app.services.webhooks.events import announce, takes
from models.base import now, session, transaction
from models.webhooks import Webhook, WebhookMessage
from support.callers import Caller
from support.envelopes import Refusals
from support.people import Promised
from support.receiver import Receiver, receiving
from support.resolving import resolving

pytestmark = pytest.mark.settings(engine="on", outbound_allow="127.0.0.1")
Json = dict[str, Any]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver."""
    with receiving() as started:
        yield started


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four attempts, each soon after the other."""
    monkeypatch.setattr(sending, "WAITS", (timedelta(seconds=0.05),) * 3)
    monkeypatch.setattr(sending, "SHORTEST_PAUSE", timedelta(seconds=0.01))


def made(admin: Caller, receiver: Receiver, events: Any = "*") -> Json:
    """A webhook for the receiver, as its making told it."""
    answer = admin.post("/api/webhooks", json={"url": receiver.url, "events": events})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def log_of(admin: Caller, hook: Json, count: int, within: float = 10.0) -> list[Json]:
    """The attempts, first one first, once there are so many; fails when there are fewer in time, or more."""
    deadline = time.monotonic() + within
    while True:
        found: list[Json] = admin.get(f"/api/webhooks/{hook['id']}/deliveries").json()["deliveries"]
        if len(found) >= count or time.monotonic() > deadline:
            assert len(found) == count, found
            return found[::-1]
        time.sleep(0.03)


def one(admin: Caller, hook: Json) -> Json:
    """The webhook as it is listed."""
    return next(h for h in admin.get("/api/webhooks").json()["webhooks"] if h["id"] == hook["id"])


def test_what_happens_is_told_and_proven(admin: Caller, receiver: Receiver, promised: Promised) -> None:
    """Two verifiers of others accept what we sign and nothing that was changed; no key and no address is told."""
    created = admin.post("/api/webhooks", json={"url": receiver.url, "events": "key.*, module.toggled,user.signed_up"})
    hook = promised(created, 201)
    user = promised(admin.post("/api/auth/users", json={"email": "ada@example.com"}), 201)
    key = user["api_key"]
    admin.delete(f"/api/auth/users/{user['user']['id']}/keys/{key['id']}")
    admin.put("/api/proxy/modules/cachelayer", json={"enabled": True})
    admin.put("/api/proxy/modules/cachelayer", json={"enabled": True})
    signed_up, new, ended, toggled = (
        receiver.of(name)[0] for name in ("user.signed_up", "key.created", "key.revoked", "module.toggled")
    )
    for post in (signed_up, new, ended, toggled):
        assert post.verified(hook["secret"])["type"] == post.headers["x-stockyard-event"]
        digest = hmac.new(hook["secret"].encode(), post.raw, hashlib.sha256).hexdigest()
        assert post.headers["x-stockyard-signature"] == f"sha256={digest}"
    assert signed_up.body["data"] == {"user_id": user["user"]["id"], "tier": "free"}
    assert (new.body["data"]["id"], ended.body["data"]["id"]) == (key["id"], key["id"])
    assert toggled.body["data"] | {"version": 0} == {"module": "cachelayer", "enabled": True, "version": 0}
    assert b"ada@example.com" not in b"".join(p.raw for p in receiver.posts)
    assert key["key"].encode() not in b"".join(p.raw for p in receiver.posts)
    forged = type(new)(new.path, new.headers, new.raw.replace(b"default", b"another"))
    with pytest.raises(WebhookVerificationError):
        forged.verified(hook["secret"])
    assert len(receiver.posts) == 4, "what did not change is no event"


def test_the_log_tells_every_attempt(admin: Caller, receiver: Receiver, promised: Promised, hurried: None) -> None:
    """Somebody who misses an event looks here first: status, beginning of the answer, time taken, next try."""
    hook = made(admin, receiver)
    receiver.answers = [500, 404]
    sent = promised(admin.post("/api/webhooks/test", json={"id": hook["id"], "message": "Hello"}))
    log = log_of(admin, hook, 3)
    promised(admin.get(f"/api/webhooks/{hook['id']}/deliveries"))
    assert [(d["attempt"], d["status_code"], d["success"]) for d in log] == [
        (1, 500, False),
        (2, 404, False),
        (3, 200, True),
    ]
    assert {d["message"] for d in log} == {sent["messages"][0]} == {p.headers["webhook-id"] for p in receiver.posts}
    assert [("next_try_at" in d, d.get("error")) for d in log] == [
        (True, "it answered 500"),
        (True, "it answered 404"),
        (False, None),
    ]
    assert log[0]["response"] == "thank you"
    assert log[0]["payload_size"] == len(receiver.posts[0].raw)
    assert receiver.posts[0].body["data"] == {"message": "Hello"}
    stats = promised(admin.get(f"/api/webhooks/{hook['id']}/stats"))
    assert stats | {"avg_latency_ms": 0} == {
        "total_deliveries": 3,
        "successful": 1,
        "success_rate": round(1 / 3, 6),
        "avg_latency_ms": 0,
        "recent_failures_1h": 2,
        "pending": 0,
    }
    assert one(admin, hook)["fail_count"] == 0


def test_attempts_end(admin: Caller, receiver: Receiver, hurried: None) -> None:
    """A receiver that never takes an event gets it so often, and not for ever; the webhook stays on."""
    hook = made(admin, receiver)
    receiver.status = 503
    admin.post("/api/webhooks/test")
    log = log_of(admin, hook, 4)
    assert ["next_try_at" in d for d in log] == [True, True, True, False]
    assert admin.get(f"/api/webhooks/{hook['id']}/stats").json()["pending"] == 0
    assert one(admin, hook) | {"last_fired": ""} == one(admin, hook) | {
        "fail_count": 4,
        "enabled": True,
        "last_fired": "",
    }


def test_a_receiver_may_ask_for_time(admin: Caller, receiver: Receiver, hurried: None) -> None:
    """`Retry-After` is kept to (RFC 9110 §10.2.3), up to a day."""
    hook = made(admin, receiver)
    receiver.status, receiver.headers = 429, {"retry-after": "3600"}
    admin.post("/api/webhooks/test")
    log_of(admin, hook, 1)
    with transaction_of(admin) as opened:
        [due] = opened.scalars(select(WebhookMessage.next_try_at)).all()
    assert timedelta(minutes=59) < due - now() < timedelta(minutes=61)


def transaction_of(caller: Caller) -> Any:
    """A reading transaction of the application a caller asks."""
    return transaction(caller._client.app.runtime.engine, write=False)


def test_gone_means_gone(admin: Caller, receiver: Receiver, refused: Refusals, promised: Promised) -> None:
    """After 410 nothing more is sent, what waits included, and the list says why."""
    hook = made(admin, receiver)
    receiver.status = 410
    admin.post("/api/webhooks/test")
    assert "next_try_at" not in log_of(admin, hook, 1)[0]
    shown = one(admin, hook)
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "it answered 410 Gone")
    refused(admin.post("/api/webhooks/test", json={"id": hook["id"]}), 409, "conflict")
    refused(admin.post("/api/webhooks/test"), 409, "conflict")
    promised(admin.delete(f"/api/webhooks/{hook['id']}"))
    refused(admin.delete(f"/api/webhooks/{hook['id']}"), 404, "not_found")
    refused(admin.get(f"/api/webhooks/{hook['id']}/deliveries"), 404, "not_found")
    refused(admin.get(f"/api/webhooks/{hook['id']}/stats"), 404, "not_found")
    refused(admin.post("/api/webhooks/test", json={"id": hook["id"]}), 404, "not_found")


def test_a_day_of_failures_disables(admin: Caller, application: Application, receiver: Receiver) -> None:
    """Nine failures of yesterday and one more: whoever reads the list sees it."""
    hook = made(admin, receiver)
    receiver.status = 500
    with transaction(application.runtime.engine) as opened:
        opened.execute(update(Webhook).values(fail_count=9, failing_since=now() - timedelta(hours=25)))
    admin.post("/api/webhooks/test")
    log_of(admin, hook, 1)
    assert (one(admin, hook)["enabled"], one(admin, hook)["disabled_reason"]) == (False, "10 attempts in a row failed")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"url": "https://169.254.169.254/latest"}, "public addresses"),
        ({"url": "https://[::1]/x"}, "public addresses"),
        ({"url": "http://user:pass@127.0.0.1/x"}, "credentials"),
        ({"url": "http://127.0.0.1/x#here"}, "fragment"),
        ({"url": "http://127.0.0.1/x", "events": "no.such.event"}, "trace.error"),
        ({"url": "http://127.0.0.1/x", "events": ["trust.unheard"]}, "trace.error"),
        ({"url": "http://127.0.0.1/x", "events": ","}, "No event is named"),
        ({"url": "http://127.0.0.1/x", "events": "0" * 2_000}, "trace.error"),
        ({"url": "http://127.0.0.1/x", "events": ",".join("*" * n for n in range(1, 60))}, "At most 50"),
        ({"url": "http://127.0.0.1/x", "secret": "whsec_" + "A" * 33}, "base64"),
    ],
)
def test_what_cannot_work_is_refused(admin: Caller, refused: Refusals, body: Json, said: str) -> None:
    """At once, saying why, and nothing is kept: an event nobody announces would be waited for in vain."""
    message = refused(admin.post("/api/webhooks", json=body), 422, "unprocessable")["error"]["message"]
    assert said in message
    assert len(message) <= 2_000
    assert admin.get("/api/webhooks").json()["total"] == 0


@pytest.mark.settings(outbound_allow="")
def test_plain_http_is_for_hosts_the_operator_allows(
    admin: Caller, refused: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events name projects and users: they do not travel the internet in the clear."""
    resolving(monkeypatch, {"hooks.example.com": ["93.184.216.34"]})
    answer = admin.post("/api/webhooks", json={"url": "http://hooks.example.com/x"})
    assert "https" in refused(answer, 422, "unprocessable")["error"]["message"]
    assert admin.post("/api/webhooks", json={"url": "https://hooks.example.com/x?token=1"}).status_code == 201


def test_every_delivery_checks_the_address_again(admin: Caller, application: Application, receiver: Receiver) -> None:
    """A name that led to a public address when it was given may lead into this network the next day."""
    hook = made(admin, receiver)
    with transaction(application.runtime.engine) as opened:
        opened.execute(update(Webhook).values(url="https://169.254.169.254/x"))
    admin.post("/api/webhooks/test")
    [attempt] = log_of(admin, hook, 1)
    assert "status_code" not in attempt
    assert "public addresses" in attempt["error"]
    assert receiver.posts == []


def test_redirects_are_not_followed(admin: Caller, receiver: Receiver) -> None:
    """They would lead past the check; the log says so."""
    hook = made(admin, receiver)
    receiver.status, receiver.headers = 302, {"location": receiver.url + "/elsewhere"}
    admin.post("/api/webhooks/test")
    [attempt] = log_of(admin, hook, 1)
    assert attempt["error"] == "it answered 302; redirects are not followed"
    assert [post.path for post in receiver.posts] == ["/hook"]


def fail_after_announcing(application: Application) -> None:
    """A change that is told of and then fails."""
    with transaction(application.runtime.engine):
        announce("key.created", {"id": 0})
        raise ZeroDivisionError


def test_an_event_of_what_failed_is_never_told(admin: Caller, application: Application, receiver: Receiver) -> None:
    """The outbox is part of the transaction: told when it is committed, and only then."""
    made(admin, receiver)
    with pytest.raises(ZeroDivisionError):
        fail_after_announcing(application)
    with transaction(application.runtime.engine):
        announce("key.created", {"id": 1})
        assert session().scalars(select(WebhookMessage.status)).all() == ["pending"]
    assert receiver.of("key.created")[0].body["data"] == {"id": 1}
    assert receiver.events() == ["key.created"]


def test_a_dead_receiver_keeps_nobody_waiting(admin: Caller, application: Application, receiver: Receiver) -> None:
    """Its many events are put off together; the others' arrive meanwhile."""
    with receiving() as dead:
        made(admin, dead, "key.created")
    hook = made(admin, receiver, "webhook.test")
    with transaction(application.runtime.engine):
        for number in range(60):
            announce("key.created", {"id": number})
    began = time.monotonic()
    admin.post("/api/webhooks/test", json={"id": hook["id"]})
    receiver.of("webhook.test")
    assert time.monotonic() - began < 5
    stuck = next(h for h in admin.get("/api/webhooks").json()["webhooks"] if h["url"] == dead.url)
    assert 0 < stuck["fail_count"] < 40


def test_secrets_are_sealed_and_shown_once(
    admin: Caller, user: Caller, application: Application, receiver: Receiver, refused: Refusals
) -> None:
    """A copy of the database signs nothing; a secret of one's own works; a second webhook for a URL is refused."""
    own = "whsec_" + "A" * 32
    hook = admin.post("/api/webhooks", json={"url": receiver.url, "secret": own}).json()
    assert hook["secret"] == own
    refused(admin.post("/api/webhooks", json={"url": receiver.url}), 409, "conflict")
    refused(user.get("/api/webhooks"), 403, "forbidden")
    assert own not in admin.get("/api/webhooks").text
    held = application.runtime.secrets
    with transaction(application.runtime.engine) as opened:
        sealed = opened.scalars(select(Webhook.sealed_secret)).one()
    assert own[6:] not in str(sealed)
    assert unseal(str(sealed), sending.owner_of(hook["id"]), held) == own
    admin.post("/api/webhooks/test")
    assert receiver.of("webhook.test")[0].verified(own)


def test_patterns_take_what_they_say() -> None:
    """A name, a beginning, or all; the document names every type there is."""
    assert takes(["*"], "key.created")
    assert takes(["key.*"], "key.created")
    assert not takes(["key.*"], "keys.created")
    assert not takes(["key.create"], "key.created")
    assert not takes([], "key.created")


def test_the_document_names_every_event(document: Json) -> None:
    """And none that nobody announces."""
    told = document["components"]["schemas"]["WebhookEventPattern"]["description"]
    named = {word.strip("`,.") for word in told.split() if word.startswith("`") and "." in word.strip("`,.")}
    assert named == set(EVENTS)
