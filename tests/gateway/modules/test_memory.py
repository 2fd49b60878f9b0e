"""Chat memory in the lane: what was said is known to the next call, and to nobody else's."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.services import chat_memory
from app.services.chat_memory import MOST_CHARACTERS, Owner, Said
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL, text_of
from gateway.upstream import Upstream
from models.base import now, transaction
from models.chat import ChatMemory
from models.identity import User
from stockyard.conftest import ada
from support.callers import Caller, Client

__all__ = ["ada"]

Configure = Callable[..., None]
Json = dict[str, Any]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
ON = {"x-memory": "on"}
ONE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


def sent(upstream: Upstream) -> list[str]:
    """What the provider was sent last, by who is said to have said it."""
    messages = upstream.seen(MODEL)[-1]["body"]["messages"]
    return [f"{message['role']}: {message['content']}" for message in messages]


@pytest.fixture
def kept(client: Client) -> Callable[[int], list[ChatMemory]]:
    """`kept(n)`: the conversations in the database, once there are `n` messages in them."""

    def read(count: int) -> list[ChatMemory]:
        deadline = time.monotonic() + 5
        while True:
            with transaction(client.application.runtime.engine, write=False) as session:
                found = list(session.scalars(select(ChatMemory).order_by(ChatMemory.id)))
            if sum(len(row.turns) for row in found) == count:
                return found
            assert time.monotonic() < deadline, [row.turns for row in found]
            time.sleep(0.02)

    return read


@BOTH
def test_a_conversation_goes_on_where_it_was_left(
    ask: Ask, configure: Configure, upstream: Upstream, kept: Any, stream: bool
) -> None:
    """In the order it was said, after the instructions; whole answers, however they were delivered."""
    configure("chatmem")
    upstream.script(MODEL, {"text": "Nice to meet you, Ada."}, {"text": "Ada."})
    ask(MODEL, "I am Ada.", headers=ON, stream=stream)
    question = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who am I?"}]
    assert text_of(ask(MODEL, messages=question, headers=ON, stream=stream)) == "Ada."
    told = ["system: Be brief.", "user: I am Ada.", "assistant: Nice to meet you, Ada.", "user: Who am I?"]
    assert sent(upstream) == told
    [row] = kept(4)
    assert (row.project, row.turns[2:]) == ("default", [["user", "Who am I?"], ["assistant", "Ada."]])


@ONE
def test_only_who_asks_for_it_is_remembered(ask: Ask, configure: Configure, upstream: Upstream, kept: Any) -> None:
    """Unless an operator turns that round: then who does not want it says so."""
    configure("chatmem")
    ask(MODEL, "one")
    configure("chatmem", opt_in=False)
    ask(MODEL, "two", headers={"x-memory": "off"})
    kept(0)
    ask(MODEL, "three")
    ask(MODEL, "four")
    assert sent(upstream)[0] == "user: three"


@ONE
def test_memory_is_a_users_own_in_one_project(
    client: Client, ask: Ask, ada: Any, configure: Configure, upstream: Upstream, kept: Any
) -> None:
    """Neither another user nor another project ever hears of it; nor does a key of no user remember."""
    configure("chatmem")
    ask(MODEL, "my secret", headers=ON)
    ask(MODEL, "elsewhere", headers={**ON, "x-project": "other"})
    assert sent(upstream) == ["user: elsewhere"]
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hers"}]}
    assert ada.caller.post("/v1/chat/completions", json=body, headers=ON).status_code == 200
    assert sent(upstream) == ["user: hers"]
    client.admin.post("/v1/chat/completions", json=body, headers=ON)
    assert {row.user_id for row in kept(6)} == {1, ada.id}


@ONE
def test_a_conversation_is_forgotten_when_its_user_says_so(
    ask: Ask, configure: Configure, upstream: Upstream, kept: Any
) -> None:
    """At once; what is said from then on is another conversation."""
    configure("chatmem")
    ask(MODEL, "old", headers=ON)
    ask(MODEL, "new", headers={"x-memory": "forget"})
    assert sent(upstream) == ["user: new"]
    assert kept(2)[0].turns[0] == ["user", "new"]


@ONE
def test_who_sends_earlier_answers_keeps_the_conversation(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """Nothing is said twice."""
    configure("chatmem")
    ask(MODEL, "one", headers=ON)
    pair = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "x"}]
    ask(MODEL, messages=[*pair, {"role": "user", "content": "two"}], headers=ON)
    assert len(sent(upstream)) == 3


@ONE
def test_a_failed_call_and_a_call_for_tools_are_not_remembered(
    ask: Ask, configure: Configure, upstream: Upstream, kept: Any
) -> None:
    """There is no answer to remember."""
    configure("chatmem")
    upstream.script(MODEL, {"status": 400}, {"tools": 1}, {"text": "fine"})
    for text in ("a", "b", "c"):
        ask(MODEL, text, headers=ON)
    assert kept(2)[0].turns[0] == ["user", "c"]


@ONE
def test_the_turns_that_matter_come_back(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """By importance: the latest, and those that share words with the question."""
    configure("chatmem", strategy="importance")
    upstream.script(MODEL, {"text": "noted"})
    for text in ("My train leaves from Basel", "I like cheese", "Today it rains"):
        ask(MODEL, text, headers=ON)
    ask(MODEL, "When does the train leave?", headers=ON)
    asked = [line for line in sent(upstream) if line.startswith("user")]
    assert asked == ["user: My train leaves from Basel", "user: Today it rains", "user: When does the train leave?"]


@ONE
def test_hidden_data_stays_hidden_in_memory(ask: Ask, configure: Configure, upstream: Upstream, kept: Any) -> None:
    """A stand-in of one call would mean something else in the next, so not even that is kept."""
    configure("chatmem")
    configure("promptguard", pii={"mode": "redact-restore"})
    upstream.script(MODEL, {"text": "Dear [EMAIL_REDACTED_1]"})
    assert text_of(ask(MODEL, "I am ada@example.com", headers=ON)) == "Dear ada@example.com"
    assert kept(2)[0].turns == [["user", "I am [REDACTED]"], ["assistant", "Dear [REDACTED]"]]


def test_silence_ends_a_conversation_and_the_sweep_deletes_it(
    client: Client, ask: Ask, configure: Configure, upstream: Upstream, kept: Any
) -> None:
    """What nobody goes on with is neither told to a model again nor kept."""
    configure("chatmem", session_ttl="1h")
    engine = client.application.runtime.engine
    ask(MODEL, "old", headers=ON)
    kept(2)
    with transaction(engine) as session:
        session.execute(update(ChatMemory).values(updated_at=now() - timedelta(hours=2)))
    ask(MODEL, "new", headers=ON)
    assert sent(upstream) == ["user: new"]
    assert any(kept(2)[0].turns[0] == ["user", "new"] or time.sleep(0.05) for _ in range(60))
    sweep = chat_memory.Sweep(engine, lambda: client.application.runtime.gateway.config.of("chatmem"))
    sweep(None)  # type: ignore[arg-type]
    kept(2)
    with transaction(engine) as session:
        session.execute(update(ChatMemory).values(updated_at=now() - timedelta(hours=2)))
    sweep(None)  # type: ignore[arg-type]
    kept(0)


def test_memory_is_bounded_and_goes_with_its_user(client: Client) -> None:
    """By number and by length, always from a question on; no row is left of a user who is gone."""
    engine, owner = client.application.runtime.engine, Owner(1, "default")
    for n in range(4):
        chat_memory.add(engine, Said(owner, (("user", f"q{n}"), ("assistant", f"a{n}")), 5, 60.0))
    assert [text for _, text in chat_memory.read(engine, owner, 60.0)] == ["q2", "a2", "q3", "a3"]
    long = "x" * (MOST_CHARACTERS // 2)
    chat_memory.add(engine, Said(owner, (("user", long), ("assistant", long)), 5, 60.0))
    assert [len(text) for _, text in chat_memory.read(engine, owner, 60.0)] == [len(long), len(long)]
    with transaction(engine) as session:
        session.delete(session.get(User, 1))
    with transaction(engine, write=False) as session:
        assert session.scalars(select(ChatMemory)).all() == []


@ONE
def test_an_operator_sees_how_much_is_remembered(admin: Caller, ask: Ask, configure: Configure) -> None:
    """And not what."""
    configure("chatmem")
    ask(MODEL, "one", headers=ON)
    ask(MODEL, "two", headers=ON)
    stats = admin.get("/api/proxy/modules/chatmem").json()["stats"]
    assert (stats["recalled"], stats["forgotten"], stats["lost"]) == (2, 0, 0)


def test_another_worker_knows_it(client: Client, ask: Ask, configure: Configure, upstream: Upstream, kept: Any) -> None:
    """The database remembers, not the process: what a second gateway heard, the first one tells the model."""
    configure("chatmem")
    ask(MODEL, "before", headers=ON)
    kept(2)
    chat_memory.add(client.application.runtime.engine, Said(Owner(1, "default"), (("user", "there"),), 50, 60.0))
    ask(MODEL, "after", headers=ON)
    assert [line for line in sent(upstream) if line.startswith("user")] == [
        "user: before",
        "user: there",
        "user: after",
    ]
