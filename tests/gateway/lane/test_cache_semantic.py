"""The semantic cache: the same question in other words, everything else being equal, at the price of a vector."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, chat, said
from gateway.upstream import Upstream
from support.callers import Client
from support.together import at_once

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
MODEL, VECTORS = "gpt-4o-mini", "text-embedding-3-small"
STATE, SIMILARITY = "x-stockyard-cache", "x-stockyard-cache-similarity"
TEXT = "The train on track four is due at noon."
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


@pytest.fixture(autouse=True)
def semantic(configure: Configure) -> None:
    """The strategy is off unless an operator chooses it."""
    configure("cachelayer", strategy="semantic", semantic={"threshold": 0.9})


def vectors(upstream: Upstream, *given: list[float]) -> None:
    """What the embedding model answers, question by question."""
    upstream.script(VECTORS, *({"vector": vector} for vector in given))


def states(*responses: Any) -> list[str]:
    """What each answer says of the cache."""
    assert {response.status_code for response in responses} == {200}
    return [response.headers[STATE] for response in responses]


def test_a_question_in_other_words_is_answered_alike(ask: Ask, upstream: Upstream, traces: Traces) -> None:
    """It says how alike they are; the caller pays for both vectors, and for no third when asking once more."""
    vectors(upstream, [1.0, 0.0], [0.96, 0.28])
    first, second, again = ask(MODEL, "When does it go?"), ask(MODEL, "At what time?"), ask(MODEL, "At what time?")
    assert states(first, second, again) == ["MISS", "HIT", "HIT"]
    assert second.content == again.content == first.content
    assert [r.headers.get(SIMILARITY) for r in (first, second, again)] == [None, "0.9600", "0.9600"]
    assert [seen["body"]["input"] for seen in upstream.seen(VECTORS)] == ["When does it go?", "At what time?"]
    assert len(upstream.seen(MODEL)) == 1
    rows = traces(5)
    paid = [row for row in rows if row["operation"] == "embedding"]
    assert len(paid) == 2
    assert all(row["cost_nano"] > 0 and row["user_id"] == rows[-1]["user_id"] is not None for row in paid)
    assert sum(row["status"] == "cache_hit" for row in rows) == 2


def test_another_question_has_an_answer_of_its_own(ask: Ask, upstream: Upstream) -> None:
    """Below the threshold nothing is alike."""
    vectors(upstream, [1.0, 0.0], [0.8, 0.6])
    assert states(ask(MODEL, "When does it go?"), ask(MODEL, "Where does it go?")) == ["MISS", "MISS"]


OTHERWISE: list[dict[str, Any]] = [
    {"temperature": 0.5},
    {"tools": TOOLS},
    {"response_format": {"type": "json_object"}},
    {"seed": 7},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "At what time?"}]},
    {
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "At what time?"},
        ]
    },
    {"messages": [{"role": "user", "content": "At what time?", "name": "ada"}]},
    {"model": "gpt-4o"},
]


@pytest.mark.parametrize("fields", OTHERWISE, ids=lambda fields: next(iter(fields)))
def test_only_the_last_question_may_differ(ask: Ask, upstream: Upstream, fields: dict[str, Any]) -> None:
    """Whatever else a call says has a part in the answer, the model before all."""
    vectors(upstream, [1.0, 0.0])
    other = {"model": MODEL, "content": "At what time?"} | fields
    assert states(ask(MODEL, "When does it go?"), ask(**other), ask(MODEL, "At what time?")) == ["MISS", "MISS", "HIT"]


def test_nobody_gets_the_answer_to_anothers_question(client: Client, upstream: Upstream) -> None:
    """Not an operator's, and not in another project, whose rules may differ."""
    vectors(upstream, [1.0, 0.0])

    def asked(caller: Any, content: str, project: str = "default") -> Any:
        return caller.post("/v1/chat/completions", json=chat(MODEL, content), headers={"x-project": project})

    made = [asked(client.user, "one"), asked(client.admin, "two"), asked(client.user, "two", "lab")]
    assert states(*made, asked(client.user, "two"), asked(client.admin, "one")) == ["MISS"] * 3 + ["HIT"] * 2


def test_a_fresh_answer_can_be_demanded_and_is_kept(ask: Ask, upstream: Upstream) -> None:
    """For others who ask alike, too."""
    vectors(upstream, [1.0, 0.0])
    upstream.script(MODEL, {"text": "old"}, {"text": "new"})
    ask(MODEL, "one")
    fresh = ask(MODEL, "two", headers={"X-Stockyard-No-Cache": "true"})
    again = ask(MODEL, "two")
    assert states(fresh, again) == ["MISS", "HIT"]
    assert again.json()["choices"][0]["message"]["content"] == "new"


@pytest.mark.parametrize("stream", [False, True])
def test_a_stream_is_answered_alike(ask: Ask, upstream: Upstream, stream: bool) -> None:
    """Whichever of both was asked for first."""
    vectors(upstream, [1.0, 0.0])
    first, second = ask(MODEL, "one", stream=not stream), ask(MODEL, "two", stream=stream)
    assert states(first, second) == ["MISS", "HIT"]
    assert second.headers[SIMILARITY] == "1.0000"
    assert (said(second) if stream else second.json()["choices"][0]["message"]["content"]) == TEXT


@pytest.mark.parametrize(
    "does", [{"status": 500}, {"close": True}, {"delay": 3}, {"raw": "<html>"}, {"vector": [0.0, 0.0]}], ids=str
)
def test_without_a_vector_a_call_goes_on(ask: Ask, upstream: Upstream, configure: Configure, does: Any) -> None:
    """In time: what would save money must not cost an answer."""
    configure("retrypilot", enabled=False)
    configure("cachelayer", strategy="semantic", semantic={"timeout": "200ms"})
    upstream.script(VECTORS, does)
    began = time.monotonic()
    assert states(ask(MODEL, "one"), ask(MODEL, "two"), ask(MODEL, "one")) == ["MISS", "MISS", "HIT"]
    assert time.monotonic() - began < 2.5


def test_a_vector_that_cannot_be_had_leaves_no_trace(
    client: Client, upstream: Upstream, configure: Configure, traces: Traces
) -> None:
    """Where no provider has the model, or no budget has room, nobody was asked; every call would tell of a failure."""
    configure("cachelayer", strategy="semantic", semantic={"provider": "cohere"})
    assert states(client.user.post("/v1/chat/completions", json=chat(MODEL))) == ["MISS"]
    [row] = traces(1)
    assert (row["operation"], row["status"]) == ("chat.completion", "ok")


def test_a_vector_that_comes_too_late_is_paid_for(
    ask: Ask, upstream: Upstream, configure: Configure, traces: Traces
) -> None:
    """The provider counts what it was sent, whether we waited for it or not."""
    configure("cachelayer", strategy="semantic", semantic={"timeout": "100ms"})
    upstream.script(VECTORS, {"delay": 0.5})
    assert states(ask(MODEL)) == ["MISS"]
    late, answered = sorted(traces(2), key=lambda row: row["operation"], reverse=True)
    assert (late["operation"], late["status"], late["http_status"]) == ("embedding", "error", 504)
    assert late["cost_nano"] > 0 < answered["cost_nano"]


def test_who_brings_a_key_or_shows_a_picture_pays_for_no_vector(client: Client, upstream: Upstream) -> None:
    """Nobody's own key is used for what they did not ask for, and a vector of words says nothing of a picture."""
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    calls = [(client.bearing("sk-proj-one0123456"), "hello"), (client.user, picture), (client.user, " ")]
    for caller, content in calls:
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}]}
        assert states(*(caller.post("/v1/chat/completions", json=body) for _ in range(2))) == ["MISS", "HIT"]
    tool = {"role": "tool", "tool_call_id": "c", "content": "12"}
    client.user.post("/v1/chat/completions", json={"model": MODEL, "messages": [tool]})
    assert upstream.seen(VECTORS) == []


def test_the_exact_strategy_asks_for_no_vector(ask: Ask, upstream: Upstream, configure: Configure) -> None:
    """It costs nothing."""
    configure("cachelayer")
    assert states(ask(MODEL, "one"), ask(MODEL, "one")) == ["MISS", "HIT"]
    assert upstream.seen(VECTORS) == []


@pytest.mark.parametrize("does", [{"delay": 0.3}, {"delay": 0.3, "status": 400}], ids=["answered", "refused"])
def test_calls_alike_at_once_ask_once(ask: Ask, upstream: Upstream, configure: Configure, does: Any) -> None:
    """Where an operator wants it; when the first one fails, another asks instead."""
    configure("cachelayer", single_flight=True)
    upstream.script(MODEL, does, {})
    made = at_once(*[lambda: ask(MODEL)] * 4)
    failed = sum(response.status_code != 200 for response in made)
    assert failed == (1 if "status" in does else 0)
    assert sorted(response.headers[STATE] for response in made).count("MISS") == 1 + failed
    assert len(upstream.seen(MODEL)) == 1 + failed
