"""Between an event and its delivery a server may die in any way: who was to be told is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support.receiver import Receiver, receiving
from support.servers import Server

CHAT = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that outlives the servers."""
    with receiving() as started:
        yield started


def test_a_killed_server_loses_no_event(serve: Callable[..., Server], receiver: Receiver) -> None:
    """Neither what its handlers announced nor what a failed call left in the spool alone; each is told under one id."""
    allowed = {"outbound_allow": "127.0.0.1", "rate_limits": "off"}
    first = serve(engine="off", **allowed)
    hook = first.request("POST", "/api/webhooks", first.admin_key, json={"url": receiver.url}).json()
    for number in range(5):
        made = first.request("POST", "/api/auth/users", first.admin_key, json={"email": f"u{number}@example.com"})
        assert made.status_code == 201
    failed = first.request(
        "POST", "/v1/chat/completions", first.user_key, json=CHAT | {"model": "m"}, headers={"X-Provider": "openai"}
    )
    assert failed.status_code >= 400
    first.kill()
    assert receiver.posts == []
    second = serve(data=first.data, **allowed)
    assert len(receiver.of("user.signed_up", 5, within=30)) == 5
    assert len(receiver.of("key.created", 5)) == 5
    [error] = receiver.of("trace.error")
    assert error.body["data"]["trace_ids"] == [failed.headers["x-stockyard-trace-id"]]
    second.stop()
    assert all(post.verified(hook["secret"]) for post in receiver.posts)
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == len(receiver.posts) == 11
