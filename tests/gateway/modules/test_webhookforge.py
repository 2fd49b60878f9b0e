"""Shaped webhooks: the operator's own body, signed as it is sent, the same at every attempt, never one that breaks."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from standardwebhooks.webhooks import Webhook as Standard

from app.factory import Application
from app.services.webhooks import announce, sending
from app.services.webhooks.shaping import content_type, parsed, rendered
from gateway.lane.conftest import Ask
from gateway.upstream import Upstream
from models.base import transaction
from models.webhooks import WebhookMessage
from support.callers import Caller
from support.receiver import Post, Receiver, receiving

pytestmark = pytest.mark.settings(engine="on", outbound_allow="127.0.0.1")
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Json = dict[str, Any]
NAME = "webhookforge"
EVENT = "alert.fired"
DATA: Json = {"rule": 'say "hi"\n{{data.count}}', "count": 3, "rate": 0.5, "ids": ["a", "b"], "none": None, "on": True}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver."""
    with receiving() as started:
        yield started


@pytest.fixture
def hook(admin: Caller, receiver: Receiver) -> Json:
    """The receiver's webhook, for what fired."""
    made = admin.post("/api/webhooks", json={"url": receiver.url, "events": [EVENT, "trace.error", "webhook.test"]})
    assert made.status_code == 201
    return dict(made.json())


def posts(receiver: Receiver, count: int = 1) -> list[Post]:
    """What came, once there is so much; fails when there is less in time."""
    deadline = time.monotonic() + 10
    while len(receiver.posts) < count:
        assert time.monotonic() < deadline, f"{len(receiver.posts)} came"
        time.sleep(0.02)
    return list(receiver.posts)


def fire(application: Application, **data: Any) -> None:
    """Announce an event."""
    with transaction(application.runtime.engine):
        announce(EVENT, data)


def stats(admin: Caller) -> Json:
    """What the module counted."""
    return dict(admin.get(f"/api/proxy/modules/{NAME}").json()["stats"])


def test_a_chat_room_reads_the_event_as_it_is(
    application: Application, admin: Caller, configure: Configure, receiver: Receiver, hook: Json
) -> None:
    """The shaped body is what is signed, by both schemes, and what the log shows; it stays JSON whatever is in it."""
    template = '{"text": "{{type}}: {{ data.rule }} x{{data.count}}", "n": {{data.count}}, "ids": {{data.ids}}}'
    configure(NAME, templates={EVENT: template})
    fire(application, **DATA)
    [post] = posts(receiver)
    assert post.body == {"text": f"{EVENT}: {DATA['rule']} x3", "n": 3, "ids": ["a", "b"]}
    assert post.verified(hook["secret"]) == post.body
    digest = hmac.new(hook["secret"].encode(), post.raw, hashlib.sha256).hexdigest()
    assert post.headers["x-stockyard-signature"] == f"sha256={digest}"
    assert (post.headers["content-type"], post.headers["x-stockyard-event"]) == ("application/json", EVENT)
    [entry] = log_of(admin, hook)
    assert (entry["payload"], entry["payload_size"]) == (post.raw.decode(), len(post.raw))
    assert stats(admin) == {"shaped": 1, "too_large": 0, "not_json": 0}


def log_of(admin: Caller, hook: Json, count: int = 1) -> list[Json]:
    """The attempts, first one first, once there are so many."""
    deadline = time.monotonic() + 10
    while True:
        found: list[Json] = admin.get(f"/api/webhooks/{hook['id']}/deliveries").json()["deliveries"]
        if len(found) >= count:
            return found[::-1]
        assert time.monotonic() < deadline
        time.sleep(0.03)


def test_text_that_is_no_json_goes_as_text(
    application: Application, configure: Configure, receiver: Receiver, hook: Json
) -> None:
    """Without escapes, and told as what it is; fields that are not there leave nothing, and NUL is none for a store."""
    configure(
        NAME, templates={EVENT: "{{data.rule}} [{{data.ids.1}}{{data.ids.7}}{{data.gone.deep}}] {{data.none}}é\0"}
    )
    fire(application, **DATA | {"rule": 'a "b"\0'})
    [post] = posts(receiver)
    assert post.raw.decode() == 'a "b" [b] é'
    assert post.headers["content-type"] == "text/plain; charset=utf-8"
    Standard(hook["secret"]).verify(post.raw.decode(), post.headers, json_parse=False)


def test_a_failed_call_is_told_in_the_operators_words(
    ask: Ask, upstream: Upstream, configure: Configure, receiver: Receiver, hook: Json
) -> None:
    """On the lane, plain and streamed: what stores the call shapes what is told of it."""
    configure(NAME, templates={"trace.error": '{"text": "{{data.model}} failed {{data.http_status}}"}'})
    upstream.script("gpt-bad", {"status": 400}, {"status": 400})
    for stream in (False, True):
        ask("gpt-bad", stream=stream)
        posts(receiver, 1 + stream)
    assert [post.body for post in receiver.posts] == [{"text": "gpt-bad failed 400"}] * 2
    assert hook["url"] == receiver.url


def test_every_attempt_sends_the_same_bytes(
    application: Application,
    admin: Caller,
    configure: Configure,
    receiver: Receiver,
    hook: Json,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A template changed between two attempts shapes later events, not this one."""
    monkeypatch.setattr(sending, "WAITS", (timedelta(seconds=0.6),) * 2)
    monkeypatch.setattr(sending, "SHORTEST_PAUSE", timedelta(seconds=0.01))
    receiver.answers = [500, 500]
    configure(NAME, templates={EVENT: "first {{data.count}} {{timestamp}}"})
    fire(application, count=1)
    posts(receiver)
    configure(NAME, templates={EVENT: "second {{data.count}}"})
    first, again, last = posts(receiver, 3)
    assert first.raw == again.raw == last.raw
    assert first.raw.startswith(b"first 1 2")
    assert {entry["payload"] for entry in log_of(admin, hook, 3)} == {first.raw.decode()}
    fire(application, count=2)
    assert posts(receiver, 4)[3].raw == b"second 2"


@pytest.mark.usefixtures("hook")
def test_one_too_large_goes_as_without_a_template(
    application: Application, admin: Caller, configure: Configure, receiver: Receiver
) -> None:
    """Counted, to the byte and not to the character; one that just fits is shaped."""
    configure(NAME, templates={EVENT: "{{data.rule}}"}, max_bytes=10)
    for rule in ("é" * 5, "é" * 5 + "x", "y" * 5_000):
        fire(application, rule=rule)
    raw = sorted((post.raw for post in posts(receiver, 3)), key=len)
    assert raw[0].decode() == "é" * 5
    assert [json.loads(one)["data"]["rule"] for one in raw[1:]] == ["é" * 5 + "x", "y" * 5_000]
    assert all(json.loads(one)["type"] == EVENT for one in raw[1:])
    assert stats(admin) == {"shaped": 1, "too_large": 2, "not_json": 0}


@SQLITE
@pytest.mark.usefixtures("hook")
def test_off_or_without_a_template_nothing_changes(
    application: Application, admin: Caller, configure: Configure, receiver: Receiver
) -> None:
    """An empty template is none, and one for another event is not this one's."""
    fire(application, count=1)
    for settings in ({"enabled": False}, {}, {"templates": {EVENT: ""}}):
        configure(NAME, **{"templates": {EVENT: "x"} if "enabled" in settings else {"key.created": "x"}} | settings)
        fire(application, count=1)
    assert [post.body["data"] for post in posts(receiver, 4)] == [{"count": 1}] * 4
    assert stats(admin) == {"shaped": 0, "too_large": 0, "not_json": 0}


@SQLITE
@pytest.mark.usefixtures("hook")
def test_a_template_that_a_value_would_break_is_counted(
    application: Application, admin: Caller, configure: Configure, receiver: Receiver
) -> None:
    """A receiver that was promised JSON gets JSON: the event as it always was."""
    configure(NAME, templates={EVENT: '{"n": 1{{data.rule}}}'})
    fire(application, rule="x")
    assert posts(receiver)[0].body["data"] == {"rule": "x"}
    assert stats(admin)["not_json"] == 1


@SQLITE
def test_a_tests_template_shapes_a_test(admin: Caller, configure: Configure, receiver: Receiver, hook: Json) -> None:
    """So that an operator can try a template's form before anything happens."""
    configure(NAME, templates={"webhook.test": "*{{data.message}}*"})
    assert admin.post("/api/webhooks/test", json={"id": hook["id"], "message": "Hello"}).status_code == 200
    assert posts(receiver)[0].raw == b"*Hello*"


@SQLITE
@pytest.mark.parametrize(
    "config",
    [
        {"templates": {"key.gone": "x"}},
        {"templates": {"*": "x"}},
        {"templates": {EVENT: "x" * 2_001}},
        {"templates": {EVENT: {}}},
        {"max_bytes": 0},
        {"max_bytes": 1_000_001},
    ],
)
def test_settings_that_cannot_be_used_are_refused(admin: Caller, config: Json) -> None:
    """Above all a template for what never happens."""
    assert admin.put(f"/api/proxy/modules/{NAME}", json={"config": config}).status_code == 400


@SQLITE
def test_a_surrogate_in_a_template_harms_no_event(
    application: Application, admin: Caller, receiver: Receiver, hook: Json
) -> None:
    """Half a character, as JSON can write it, must not undo the transaction that an event is announced in."""
    body = '{"enabled": true, "config": {"templates": {"alert.fired": "a \\ud800 {{data.count}}"}}}'
    told = admin.put(f"/api/proxy/modules/{NAME}", content=body, headers={"content-type": "application/json"})
    assert told.status_code in {200, 400}
    fire(application, count=1)
    with transaction(application.runtime.engine, write=False) as session:
        assert session.scalars(select(WebhookMessage.webhook_id)).all() == [hook["id"]]
    posts(receiver)


@given(st.text(), st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(), st.lists))
def test_a_template_in_json_stays_json(text: str, value: Any) -> None:
    """Whatever an event holds: in a string it is read back as it was, elsewhere it keeps its kind."""
    template = parsed(
        '[{"<{{data.text}}>": "{{data.text}}\\""}, {{ data.value }}, {{data.gone}}, "{{data.value.0.0}}"]'
    )
    body = rendered(template, {"data": {"text": text, "value": value}}, 1_000_000)
    assert body is not None
    found, kept, gone, _ = json.loads(body)
    assert (found, kept, gone) == ({f"<{text}>": f'{text}"'}, value, None)


@given(st.text(alphabet='{}[]":,\\ 0a', max_size=40), st.text(max_size=5))
def test_any_text_is_a_template(text: str, value: str) -> None:
    """Nothing an operator may write ends in an error where something else happens."""
    template = parsed(text[:20] + "{{data.x}}" + text[20:])
    body = rendered(template, {"data": {"x": value}}, 10_000)
    assert body is not None
    assert content_type(body.encode("utf-8", "replace"))
    assert rendered(template, {"data": {"x": "z" * 10_000}}, 9_999) is None
