"""Between a webhook that was taken and its answer a server may die in any way: it is answered, and once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from standardwebhooks.webhooks import Webhook as Standard

from gateway.upstream import Upstream, provider
from models.base import now
from support.receiver import Receiver, receiving
from support.servers import Server

SECRET = "whsec_" + "QUFB" * 8
MODEL = "gpt-4o-mini"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that outlives the servers."""
    with receiving() as started:
        yield started


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A provider that does, too."""
    with provider() as started:
        yield started


def send(server: Server, message: str) -> str:
    """Have a delivery taken; its id."""
    raw, moment = json.dumps({"data": {"title": message}}), now()
    signed = Standard(SECRET).sign(message, moment, raw)
    headers = {"webhook-id": message, "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": signed}
    headers["content-type"] = "application/json"
    answer = server.request("POST", "/api/relays/tickets", data=raw, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_a_killed_server_loses_no_delivery(
    serve: Callable[..., Server], receiver: Receiver, upstream: Upstream
) -> None:
    """What one took before it was killed, two workers of the next answer: each message by one call and one event."""
    settings = {"outbound_allow": "127.0.0.1", "rate_limits": "off", "variables": upstream.environment("openai")}
    first = serve(engine="off", **settings)
    charged = first.request("GET", "/api/auth/me", first.user_key).json()["id"]
    relay = {"name": "tickets", "secret": SECRET, "prompt": "{{data.title}}", "model": MODEL, "user": charged}
    wanted = {"enabled": True, "config": {"relays": [relay]}}
    assert first.request("PUT", "/api/proxy/modules/webhookrelay", first.admin_key, json=wanted).ok
    hook = {"url": receiver.url, "events": ["relay.*"]}
    assert first.request("POST", "/api/webhooks", first.admin_key, json=hook).ok
    taken = {send(first, f"msg_{number}") for number in range(6)}
    first.kill()
    assert upstream.seen(MODEL) == []
    second = serve(data=first.data, workers=2, **settings)
    told = receiver.of("relay.answered", 6, within=30)
    assert send(second, "msg_0") in taken
    time.sleep(0.2)
    assert {post.body["data"]["id"] for post in told} == taken
    asked = sorted(one["body"]["messages"][0]["content"] for one in upstream.seen(MODEL))
    assert asked == [f"msg_{number}" for number in range(6)]
    assert len(receiver.posts) == 6
