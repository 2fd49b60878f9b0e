"""The cache that workers share: one pays, all answer, and nobody else can read it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from app.factory import create
from app.security.rotation import rotate_sealing
from app.services import resealing
from app.services.revisions import bump
from app.settings import Settings
from gateway.lane.conftest import chat, events, said
from gateway.upstream import Upstream
from models.answers import CachedAnswer
from models.base import session, transaction
from models.identity import User
from support.callers import Caller, Client
from support.databases import Template

Configure = Callable[..., None]
Worker = Callable[[], Client]
MODEL = "gpt-4o-mini"
STATE = "x-stockyard-cache"
# What differs between databases is the store's, which is tried on each by itself.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
REDIS = os.environ.get("YARDMASTER_TEST_REDIS_URL", "")


@pytest.fixture(autouse=True)
def cached(configure: Configure) -> None:
    """The cache is off unless an operator switches it on."""
    configure("cachelayer", ttl="1m")


@pytest.fixture
def worker(client: Client, settings: Settings, document: Any, backend: Template) -> Iterator[Worker]:
    """Another worker of the same server: `worker()` is a client of it."""
    opened: list[Client] = []

    def start() -> Client:
        made = create(settings, document)
        made.runtime.gateway.answers.shared.patience_s = 5.0
        opened.append(Client(made, backend.keys).__enter__())
        return opened[-1]

    yield start
    for other in opened:
        other.__exit__()


def ask(caller: Caller, content: str = "hello", **fields: Any) -> Any:
    """One chat call."""
    return caller.post("/v1/chat/completions", json=chat(MODEL, content, **fields))


def stored(client: Client, count: int = 1) -> list[CachedAnswer]:
    """The rows of shared answers, once there are so many; fails when there are not in time."""
    deadline = time.monotonic() + 3.0
    while True:
        with transaction(client.application.runtime.engine, write=False) as opened:
            rows = list(opened.scalars(select(CachedAnswer)))
        if len(rows) >= count or time.monotonic() > deadline:
            assert len(rows) == count
            return rows
        time.sleep(0.02)


def test_what_one_worker_paid_for_another_answers(client: Client, worker: Worker, upstream: Upstream) -> None:
    """Byte by byte, from its own memory the second time; a worker started later knows it too."""
    first = ask(client.user)
    stored(client)
    other = worker()
    again, once_more = ask(other.user), ask(other.user)
    assert [r.headers[STATE] for r in (first, again, once_more)] == ["MISS", "HIT", "HIT"]
    assert again.content == once_more.content == first.content
    assert again.headers["x-stockyard-cost"] == "0.000000"
    counts = other.application.runtime.gateway.answers.counts
    assert (counts.shared, counts.memory, counts.misses) == (1, 1, 0)
    assert len(upstream.seen(MODEL)) == 1


def test_a_shared_answer_serves_streams_and_other_wires_apart(client: Client, worker: Worker) -> None:
    """A stream of the one is a plain answer of the other; what was said on Anthropic's wire stays on it."""
    message = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    streamed, anthropic = ask(client.user, stream=True), client.user.post("/v1/messages", json=message)
    stored(client, 2)
    other = worker()
    plain, replayed = ask(other.user), other.user.post("/v1/messages", json=message | {"stream": True})
    assert [r.headers[STATE] for r in (streamed, anthropic, plain, replayed)] == ["MISS", "MISS", "HIT", "HIT"]
    assert plain.json()["choices"][0]["message"]["content"] == said(streamed)
    assert anthropic.json()["content"][0]["text"] in replayed.text.replace('\\"', '"')
    assert events(streamed)[-1] == "[DONE]"


def test_no_tenant_gets_anothers_answer_from_another_worker(client: Client, worker: Worker, upstream: Upstream) -> None:
    """A user, an operator, and two callers with keys of their own ask the same in both workers."""
    keys = ["sk-proj-one0123456", "sk-proj-two0123456"]
    for caller in (client.user, client.admin, *map(client.bearing, keys)):
        assert ask(caller).headers[STATE] == "MISS"
    rows = stored(client, 4)
    assert sorted(str(row.user_id) for row in rows).count("None") == 3
    other = worker()
    assert ask(other.bearing("sk-proj-three012345")).headers[STATE] == "MISS"
    for caller in (other.user, other.admin, *map(other.bearing, keys)):
        assert ask(caller).headers[STATE] == "HIT"


def test_nothing_of_an_answer_can_be_read_in_the_database(client: Client, upstream: Upstream) -> None:
    """Neither what was asked nor what was said: a stolen backup is worth nothing."""
    upstream.script(MODEL, {"text": "bluebird sings"})
    ask(client.user, "what does redbreast do")
    [row] = stored(client)
    whole = "".join(str(getattr(row, column.key)) for column in CachedAnswer.__table__.columns)
    assert "bluebird" not in whole
    assert "redbreast" not in whole
    assert row.size == len(row.sealed)


def test_stored_answers_follow_the_keyring(client: Client, worker: Worker) -> None:
    """After a rotation they are sealed anew, and can still be given again."""
    ask(client.user)
    stored(client)
    runtime = client.application.runtime
    rotate_sealing(runtime.settings.data, runtime.secrets.refresh)
    assert resealing.reseal(runtime.engine, runtime.secrets, lambda *_: None).failed == 0
    assert stored(client)[0].sealed.startswith("v1.k2.")
    assert ask(worker().user).headers[STATE] == "HIT"


def test_other_settings_make_other_answers(
    client: Client, worker: Worker, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that reaches another provider under the same name must not repeat what the first one said."""
    ask(client.user)
    stored(client)
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.url("mistral"))
    assert ask(worker().user).headers[STATE] == "MISS"
    assert [seen["provider"] for seen in upstream.seen(MODEL)] == ["openai", "mistral"]


def test_somebodys_session_changes_nothing(client: Client, worker: Worker) -> None:
    """Other workers are told of much that no answer depends on; a cache that forgot each time would be none."""
    ask(client.user)
    stored(client)
    with transaction(client.application.runtime.engine):
        bump()
    client.application.runtime.changed()
    assert ask(client.user).headers[STATE] == ask(worker().user).headers[STATE] == "HIT"


def test_an_answer_of_one_account_is_not_given_for_another(client: Client, worker: Worker) -> None:
    """Whoever brings a key of their own, or takes it back, is served by another account from then on."""
    other, mine = worker(), "/api/auth/me/providers/openai"
    assert [ask(client.user).headers[STATE] for _ in range(2)] == ["MISS", "HIT"]
    assert client.user.put(mine, json={"api_key": "sk-proj-0123456789abcdefghij"}).status_code == 200
    assert [ask(client.user).headers[STATE] for _ in range(2)] == ["MISS", "HIT"]
    assert client.user.delete(mine).status_code in {200, 204}
    other.application.runtime.changed()
    assert ask(other.user).headers[STATE] == "MISS"


def test_what_is_not_to_be_shared_is_not(client: Client, worker: Worker, configure: Configure) -> None:
    """An operator may want no answer outside of memory."""
    configure("cachelayer", ttl="1m", shared=False)
    assert [ask(client.user).headers[STATE] for _ in range(2)] == ["MISS", "HIT"]
    time.sleep(0.15)
    stored(client, 0)
    assert ask(worker().user).headers[STATE] == "MISS"


def test_an_erased_user_leaves_no_answer(client: Client) -> None:
    """Not in the database, and not in any worker's memory."""
    made = client.admin.post("/api/auth/users", json={"email": "ada@example.com"}).json()
    ask(client.bearing(made["api_key"]["key"]))
    ask(client.user)
    stored(client, 2)
    runtime = client.application.runtime
    with transaction(runtime.engine):
        session().delete(session().get(User, made["user"]["id"]))
    [left] = stored(client)
    assert left.user_id != made["user"]["id"]


def test_an_answer_under_way_when_the_cache_is_emptied_is_not_given_again(client: Client, upstream: Upstream) -> None:
    """Whoever empties a cache wants nothing of before, whenever it arrives."""
    upstream.script(MODEL, {"delay": 0.2}, {})
    with ThreadPoolExecutor(1) as others:
        late = others.submit(ask, client.user)
        while not upstream.seen(MODEL):
            time.sleep(0.01)
        assert client.admin.delete("/api/cache").status_code == 200
        assert late.result().headers[STATE] == "MISS"
    assert ask(client.user).headers[STATE] == "MISS"
    stored(client)


@pytest.mark.skipif(not REDIS, reason="YARDMASTER_TEST_REDIS_URL names no server, e.g. redis://127.0.0.1:6379/9")
@pytest.mark.settings(redis_url=REDIS)
def test_with_redis_the_answers_are_there(client: Client, worker: Worker) -> None:
    """Not in the database; and emptied as well."""
    answers = client.application.runtime.gateway.answers
    ask(client.user)
    while not answers.count():
        time.sleep(0.02)
    other = worker()
    assert ask(other.user).headers[STATE] == "HIT"
    stored(client, 0)
    assert client.admin.delete("/api/cache").json()["removed"] == 1
    assert (answers.count(), ask(client.user).headers[STATE]) == (0, "MISS")
    while not answers.count():
        time.sleep(0.02)
    answers.clear(answers.shared.epoch)


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The address of a Redis that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


def test_a_store_that_says_nothing_costs_one_call_a_twentieth_of_a_second(
    settings: Settings, black_hole: str, document: Any, backend: Template, configure: Configure, upstream: Upstream
) -> None:
    """And the calls of the next second nothing; none of them fails, and memory works on."""
    silent = create(replace(settings, redis_url=black_hole), document)
    with Client(silent, backend.keys) as client:
        took = []
        for content in ("one", "two", "three", "one"):
            began = time.monotonic()
            took.append((ask(client.user, content).headers[STATE], time.monotonic() - began))
    assert [state for state, _ in took] == ["MISS", "MISS", "MISS", "HIT"]
    assert silent.runtime.gateway.answers.shared.failures >= 1
    assert min(seconds for _, seconds in took[1:3]) < 0.05


def test_half_an_embedding_is_never_given_for_the_whole(client: Client, configure: Configure) -> None:
    """The cache of embeddings sends only what is new; what comes back is the answer to another question."""
    configure("embedcache")

    def embed(*texts: str) -> list[Any]:
        body = {"model": "text-embedding-3-small", "input": list(texts)}
        return list(client.user.post("/v1/embeddings", json=body).json()["data"])

    assert len(embed("a")) == 1
    assert len(embed("a", "c")) == 2
    client.application.runtime.gateway.modules.forget()
    assert len(embed("c")) == 1
