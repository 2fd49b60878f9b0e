"""`Idempotency-Key`: a call that is repeated is made once, and whoever repeats it gets the first one's answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from os import urandom
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from app.factory import Application
from app.gateway.idempotency import kept
from app.gateway.idempotency.store import KEPT
from app.wire.replies import Reply
from gateway.lane.conftest import Ask, chat, said
from gateway.upstream import Upstream
from models.base import transaction
from models.idempotency import IdempotentCall
from support.callers import Caller, Client
from support.envelopes import Refusals
from support.together import at_once

# What depends on the database is the store's, which has tests of its own.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Traces = Callable[..., list[dict[str, Any]]]
Configure = Callable[..., None]
MODEL = "gpt-4o-mini"
TURN = [{"role": "user", "content": "hello"}]
KEY = {"Idempotency-Key": "order-7"}
LONG = "a secret of several words, said twice: a secret of several words"
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
WIRES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": TURN}),
    ("/v1/completions", {"prompt": "hello"}),
    ("/v1/messages", {"messages": TURN, "max_tokens": 100}),
    ("/v1/responses", {"input": "hello"}),
    ("/v1/embeddings", {"input": "hello"}),
]


@pytest.fixture(autouse=True)
def single(configure: Configure) -> None:
    """One attempt at one provider for each call, so that attempts can be counted."""
    configure("retrypilot", enabled=False)
    configure("failover", enabled=False)


def rows(application: Application) -> list[IdempotentCall]:
    """What is kept."""
    with transaction(application.runtime.engine, write=False) as session:
        return list(session.scalars(select(IdempotentCall)))


def older(application: Application, age: timedelta) -> None:
    """Let time pass over what is kept, and over who holds it."""
    with transaction(application.runtime.engine) as session:
        for row in session.scalars(select(IdempotentCall)):
            row.expires_at -= age


def test_a_repeated_call_is_made_once(client: Client, upstream: Upstream, traces: Traces) -> None:
    """On every wire the same answer, byte for byte, for no money: one request to the provider, one trace.

    Keys are an operation's own, so that a client may number its calls for each.
    """
    for path, body in WIRES:
        upstream.script(MODEL, {"text": "first"}, {"text": "second"})
        first, again = [client.user.post(path, json={"model": MODEL, **body}, headers=KEY) for _ in range(2)]
        assert (first.status_code, again.status_code) == (200, 200)
        assert again.content == first.content
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        for name in ("content-type", "x-stockyard-provider", "x-stockyard-trace-id", "x-stockyard-tokens-in"):
            assert again.headers[name] == first.headers[name]
        assert again.headers["x-stockyard-cost"] == "0.000000" != first.headers["x-stockyard-cost"]
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(upstream.seen(MODEL)) == len(WIRES)
    traces(len(WIRES))


def test_a_stream_is_repeated_as_a_stream(ask: Ask, upstream: Upstream, traces: Traces) -> None:
    """Every frame of it, with its end."""
    first, again = [ask(MODEL, headers=KEY, stream=True) for _ in range(2)]
    assert again.headers["content-type"].startswith("text/event-stream")
    assert again.content == first.content
    assert said(again) == "The train on track four is due at noon."
    assert again.headers["idempotency-replayed"] == "true"
    assert len(upstream.seen(MODEL)) == 1
    traces(1)


def test_without_the_header_nothing_is_kept(ask: Ask, application: Application, upstream: Upstream) -> None:
    """Calls that do not ask for it pay nothing for it."""
    assert [ask(MODEL).status_code for _ in range(2)] == [200, 200]
    assert rows(application) == []
    assert len(upstream.seen(MODEL)) == 2


def test_another_request_under_the_same_key_is_refused(ask: Ask, upstream: Upstream, refused: Refusals) -> None:
    """A key that was used twice by mistake must not answer one question with another's answer."""
    first = ask(MODEL, headers=KEY)
    others = [ask(MODEL, "other", headers=KEY), ask(MODEL, headers=KEY, stream=True)]
    for answer in (*others, ask(MODEL, headers=KEY | {"X-Provider": "openai"})):
        refused(answer, 422, "idempotency_key_reused")
    assert len(upstream.seen(MODEL)) == 1
    assert ask(MODEL, headers=KEY).content == first.content


def test_how_a_call_is_written_or_counted_makes_it_no_other(user: Caller, upstream: Upstream) -> None:
    """A client that orders its fields anew, or tags its second attempt, still repeats itself."""
    path = "/v1/chat/completions"
    user.post(path, json={"model": MODEL, "messages": TURN}, headers=KEY)
    other = user.post(path, json={"messages": TURN, "model": MODEL}, headers=KEY | {"X-Stockyard-Tags": "attempt=2"})
    assert other.headers["idempotency-replayed"] == "true"
    assert len(upstream.seen(MODEL)) == 1


@STREAMED
def test_of_calls_at_the_same_time_exactly_one_runs(
    ask: Ask, upstream: Upstream, refused: Refusals, stream: bool
) -> None:
    """The others are told to come back, and then get its answer."""
    upstream.script(MODEL, {"delay": 0.3})
    answers = at_once(*[lambda: ask(MODEL, headers=KEY, stream=stream) for _ in range(6)])
    ran = [answer for answer in answers if answer.status_code == 200]
    waiting = [answer for answer in answers if answer.status_code != 200]
    assert len(upstream.seen(MODEL)) == len(ran) == 1
    for answer in waiting:
        refused(answer, 409, "idempotency_key_in_use")
        assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert ask(MODEL, headers=KEY, stream=stream).content == ran[0].content


OUTCOMES = [
    ({"status": 500}, 502, False),
    ({"status": 429, "headers": {"retry-after": "3"}}, 429, False),
    ({"hang": True}, 504, False),
    ({"status": 401}, 502, False),
    ({"status": 409}, 409, False),
    ({"status": 400, "error": {"code": "context_length_exceeded"}}, 400, True),
    ({"status": 404}, 404, True),
    ({"status": 422}, 422, True),
]


@STREAMED
def test_only_refusals_that_the_request_deserves_are_final(
    ask: Ask, upstream: Upstream, refused: Refusals, stream: bool
) -> None:
    """Whoever repeats a call after an outage wants it to run, and not to hear of the outage for a day."""
    for number, (does, status, final) in enumerate(OUTCOMES):
        model, key = upstream.script(f"gpt-4o-mini-{number}", does, {}), {"Idempotency-Key": str(number)}
        first, again = ask(model, headers=key, stream=stream), ask(model, headers=key, stream=stream)
        told = refused(first, status)
        assert "idempotency-replayed" not in first.headers
        assert again.status_code == (status if final else 200)
        assert not final or (refused(again, status), again.headers["idempotency-replayed"]) == (told, "true")
        assert len(upstream.seen(model)) == (1 if final else 2)


def test_a_stream_that_breaks_is_not_kept(ask: Ask, upstream: Upstream) -> None:
    """Half an answer, repeated for a day, would be worse than none."""
    upstream.script(MODEL, {"frames": 4, "then": "close"}, {})
    assert "error" in ask(MODEL, headers=KEY, stream=True).text
    again = ask(MODEL, headers=KEY, stream=True)
    assert ("idempotency-replayed" in again.headers, said(again)[:9]) == (False, "The train")


def test_what_a_rule_refuses_after_it_was_paid_for_is_final(ask: Ask, upstream: Upstream, admin: Caller) -> None:
    """Asking again would cost again; a refusal before anybody was asked costs nothing, and rules change."""
    rule = {"name": "trains", "pattern": "train|plane", "action": "block"}
    assert admin.post("/api/guardrails", json=rule).status_code == 201
    paid = [ask(MODEL, headers=KEY) for _ in range(2)]
    free = [ask(MODEL, "a plane", headers={"Idempotency-Key": "other"}) for _ in range(2)]
    assert [answer.status_code for answer in paid + free] == [403] * 4
    told = ["idempotency-replayed" in answer.headers for answer in paid + free]
    assert told == [False, True, False, False]
    assert len(upstream.seen(MODEL)) == 1


def test_keys_are_the_accounts_own(ask: Ask, client: Client, upstream: Upstream, application: Application) -> None:
    """Two users who choose the same key never meet; two API keys of one user do, for one may replace the other."""
    mine = ask(MODEL, headers=KEY)
    body = chat(MODEL)
    made = client.user.post("/api/auth/me/keys", json={"name": "second"}).json()["key"]
    ada = client.admin.post("/api/auth/users", json={"email": "ada@example.com"}).json()["api_key"]["key"]
    path = "/v1/chat/completions"
    assert client.bearing(made).post(path, json=body, headers=KEY).headers["idempotency-replayed"] == "true"
    others = [
        client.bearing(ada),
        client.admin,
        client.bearing("sk-raw-one-0123456"),
        client.bearing("sk-raw-two-0123456"),
    ]
    for caller in others:
        answer = caller.post(path, json=body, headers=KEY)
        assert answer.status_code == 200
        assert "idempotency-replayed" not in answer.headers
        assert answer.headers["x-stockyard-trace-id"] != mine.headers["x-stockyard-trace-id"]
    assert len(upstream.seen(MODEL)) == 1 + len(others)
    with transaction(application.runtime.engine, write=False) as session:
        assert len({row.user_id for row in session.scalars(select(IdempotentCall))}) == 3


def test_an_answer_is_kept_for_a_day(ask: Ask, application: Application, upstream: Upstream) -> None:
    """Then the key may be used anew, even for another request."""
    ask(MODEL, headers=KEY)
    older(application, KEPT - timedelta(seconds=30))
    assert "idempotency-replayed" in ask(MODEL, headers=KEY).headers
    older(application, timedelta(seconds=31))
    assert ask(MODEL, "something else", headers=KEY).status_code == 200
    assert len(upstream.seen(MODEL)) == 2


def test_a_kept_answer_is_sealed(ask: Ask, application: Application, upstream: Upstream) -> None:
    """Whoever reads the database reads neither answer nor key; one that cannot be opened is made again."""
    upstream.script(MODEL, {"text": LONG})
    ask(MODEL, headers=KEY)
    [row] = rows(application)
    assert row.sealed_answer is not None
    with transaction(application.runtime.engine, write=False) as session:
        stored = str(session.execute(select(IdempotentCall.__table__)).all())
    assert LONG not in stored
    assert "order-7" not in stored
    packed = kept.opened(row.sealed_answer, row.id, application.runtime.secrets)
    assert LONG.encode() in kept.replayed(packed, []).body
    with transaction(application.runtime.engine) as session:
        session.execute(update(IdempotentCall).values(sealed_answer=b"v1.k1.nonsense that nobody sealed"))
    assert ask(MODEL, headers=KEY).status_code == 200
    assert len(upstream.seen(MODEL)) == 2


def test_a_key_that_is_none_is_refused(user: Caller, refused: Refusals, upstream: Upstream) -> None:
    """1 to 255 printable characters, as the document says."""
    for key in ("", "x" * 256, "tab\there", "clé"):
        headers = {"Idempotency-Key": key.encode("latin-1")}
        refused(user.post("/v1/chat/completions", json=chat(MODEL), headers=headers), 400)
    assert upstream.seen(MODEL) == []


HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"content-type", b"x-stockyard-model", b"x-stockyard-warning"]),
        st.text(st.characters(max_codepoint=255), max_size=20).map(lambda text: text.encode("latin-1")),
    ),
    max_size=5,
)


def test_what_is_no_answer_is_not_kept() -> None:
    """Whoever hung up on a plain call was told nothing, and an answer too large for the database is not stored."""
    assert kept.of_reply(Reply(499), b"") is None
    assert kept.of_reply(Reply(200), bytes(kept.LARGEST + 1)) is None
    assert kept.of_reply(Reply(200), urandom(kept.MOST_PACKED + 1)) is None


@given(HEADERS, st.binary(max_size=200))
def test_what_is_kept_comes_back_whole(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Whatever an answer holds, line breaks and repeated headers included."""
    packed = kept.of_reply(Reply(200, headers), body)
    assert packed is not None
    back = kept.replayed(packed, [(b"own", b"1")])
    assert (back.status, back.body) == (200, body)
    assert back.headers == [*headers, (b"own", b"1"), kept.REPLAYED]
