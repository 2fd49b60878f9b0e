"""The data map in the lane: what went where is counted, once for each call, and nothing of it is kept."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from app.factory import Application
from app.gateway.modules import datamap, kinds
from app.gateway.modules.catalogue import defaults
from app.gateway.modules.datamap import Datamap
from app.services import data_flows
from app.services.data_flows import Flow
from gateway.lane.conftest import Ask
from gateway.upstream import Upstream
from models.base import transaction
from support.callers import Caller, Client

Configure = Callable[..., None]
Json = dict[str, Any]
MODEL = "gpt-4o-mini"
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
SECRETIVE = "Write to Nora at nora.lindt@example.org, +41791234567, or Bahnhofstrasse 12."
Shown = Callable[..., Json]


@pytest.fixture(autouse=True)
def quick(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is examined, at once; nothing is tried twice."""
    monkeypatch.setattr(datamap, "GATHER_S", 0.01)
    configure("retrypilot", enabled=False)
    configure("datamap", sample_rate=1)


@pytest.fixture
def shown(admin: Caller) -> Shown:
    """`shown(n)`: what the module shows once `n` calls are counted; fails when there are fewer in time, or more."""

    def read(calls: int, within: float = 5.0) -> Json:
        deadline = time.monotonic() + within
        stats: Json = {}
        while time.monotonic() < deadline:
            stats = admin.get("/api/proxy/modules/datamap").json()["stats"]
            if sum(stats["calls"].values()) >= calls:
                break
            time.sleep(0.03)
        assert sum(stats["calls"].values()) == calls, stats
        return stats

    return read


@BOTH
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": SECRETIVE}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": SECRETIVE}], "max_tokens": 50}),
        ("/v1/responses", {"input": SECRETIVE}),
        ("/v1/completions", {"prompt": SECRETIVE}),
    ],
)
def test_what_goes_to_a_provider_is_counted_by_kind(
    client: Client, shown: Shown, path: str, asked: Json, stream: bool
) -> None:
    """On every wire, for the project it is for."""
    body = {"model": MODEL, "stream": stream, **asked}
    assert client.user.post(path, json=body, headers={"X-Project": "letters"}).status_code == 200
    stats = shown(1)
    assert stats["kinds"] == {kind: {"openai": 1} for kind in ("address", "email", "phone")}
    assert {(flow["kind"], flow["provider"], flow["project"], flow["calls"]) for flow in stats["flows"]} == {
        (kind, "openai", "letters", 1) for kind in ("address", "email", "phone")
    }
    assert stats["examined"] == 1


def test_embeddings_are_prompts_too(client: Client, shown: Shown) -> None:
    """A text that is embedded has gone to a provider like any other."""
    body = {"model": "text-embedding-3-small", "input": ["nothing", SECRETIVE]}
    assert client.user.post("/v1/embeddings", json=body).status_code == 200
    assert shown(1)["kinds"]["email"] == {"openai": 1}


def test_nothing_of_the_data_is_kept(ask: Ask, shown: Shown, application: Application) -> None:
    """A map that held addresses would be one more place to protect."""
    ask(MODEL, SECRETIVE)
    shown(1)
    with transaction(application.runtime.engine, write=False) as opened:
        rows = str(opened.execute(text("SELECT * FROM data_flows")).all())
    assert "email" in rows
    assert not [word for word in ("nora", "lindt", "4179", "Bahnhof") if word in rows]


@BOTH
def test_whoever_was_sent_it_counts_and_nobody_else(
    ask: Ask, configure: Configure, upstream: Upstream, shown: Shown, stream: bool
) -> None:
    """A provider that failed, and the one that stood in; not a third that was never asked."""
    configure("failover", providers=["openai", "groq", "mistral"], models={"gpt-4o": {"groq": "llama", "mistral": "m"}})
    upstream.script("gpt-4o", {"status": 500})
    assert ask("gpt-4o", SECRETIVE, stream=stream).status_code == 200
    assert shown(2)["kinds"]["email"] == {"groq": 1, "openai": 1}


@BOTH
@pytest.mark.parametrize("does", [{"hang": True}, {"close": True}, {"raw": "nonsense"}], ids=["hang", "close", "raw"])
def test_who_was_sent_it_and_never_answered_counts(
    ask: Ask, upstream: Upstream, shown: Shown, does: Json, stream: bool
) -> None:
    """The request was there: that no answer came makes it no less a flow."""
    upstream.script(MODEL, does)
    assert ask(MODEL, SECRETIVE, stream=stream).status_code in {502, 504}
    assert shown(1)["kinds"]["email"] == {"openai": 1}


@BOTH
def test_a_call_that_was_cut_off_on_its_way_counts(
    ask: Ask, configure: Configure, upstream: Upstream, shown: Shown, stream: bool
) -> None:
    """Nobody knows how much of it had arrived: a map says rather too much than too little."""
    configure("idlekill", max_duration="200ms")
    upstream.script(MODEL, {"hang": True})
    assert ask(MODEL, SECRETIVE, stream=stream).status_code >= 400
    assert shown(1)["kinds"]["email"] == {"openai": 1}


@BOTH
def test_a_repeated_call_is_one_call(
    ask: Ask, configure: Configure, upstream: Upstream, shown: Shown, stream: bool
) -> None:
    """However often the same provider was asked for it."""
    configure("retrypilot", base_delay="1ms", max_retries=2)
    upstream.script(MODEL, {"status": 500}, {"status": 500}, {})
    assert ask(MODEL, SECRETIVE, stream=stream).status_code == 200
    assert shown(1)["kinds"]["email"] == {"openai": 1}


@BOTH
def test_a_call_that_reached_no_provider_counts_for_none(
    ask: Ask, configure: Configure, shown: Shown, guard: Callable[..., int], application: Application, stream: bool
) -> None:
    """Refused, answered by ourselves or from memory, or in front of a closed door."""
    guard("birds", "bluebird", "block")
    assert ask(MODEL, f"bluebird {SECRETIVE}", stream=stream).status_code == 403
    configure("mockllm", fixtures=[{"value": "ping", "response": "pong"}])
    assert ask(MODEL, f"ping {SECRETIVE}", stream=stream).status_code == 200
    configure("cachelayer")
    for _ in range(2):
        assert ask(MODEL, SECRETIVE, stream=stream, temperature=0).status_code == 200
    accounts = application.runtime.gateway._accounts
    accounts["groq"] = type(accounts["groq"])(accounts["groq"].provider, "http://127.0.0.1:9/v1", "sk-x")
    configure("retrypilot", base_delay="1ms", max_retries=1)
    assert ask(MODEL, SECRETIVE, stream=stream, headers={"X-Provider": "groq"}).status_code == 502
    stats = shown(1)
    assert stats["calls"] == stats["kinds"]["email"] == {"openai": 1}
    assert stats["examined"] == 1


def test_invented_people_are_nobodys_data(ask: Ask, configure: Configure, upstream: Upstream, shown: Shown) -> None:
    """What the provider got is looked at: a mask is no address, and what no mask covers is."""
    configure("maskmode", kinds=["name", "email", "phone"])
    said = "My name is Nora Lindt, nora.lindt@example.org, 212-555-7788. Send it to 12 Rosebery Avenue."
    assert ask(MODEL, said).status_code == 200
    assert "nora" not in str(upstream.seen(MODEL)[-1]["body"])
    assert shown(1)["kinds"] == {"address": {"openai": 1}}


def test_what_the_gateway_asks_for_a_call_is_counted_too(ask: Ask, configure: Configure, shown: Shown) -> None:
    """A copy of a prompt at a second provider is a flow of its own."""
    configure("mirrortest", model="mistral-small-latest", sample_rate=1, max_daily_cost=10)
    assert ask(MODEL, SECRETIVE, max_tokens=5).status_code == 200
    stats = shown(2)
    assert stats["kinds"]["email"] == {"mistral": 1, "openai": 1}
    assert {flow["project"] for flow in stats["flows"] if flow["provider"] == "mistral"} == {"mirrortest"}


def test_several_models_at_once_are_several_flows(ask: Ask, configure: Configure, shown: Shown) -> None:
    """Whoever's answer is returned: each was sent the prompt."""
    route = {"name": "both", "models": [MODEL, "mistral-small-latest"], "strategy": "longest"}
    configure("multicall", routes=[route])
    assert ask("any", SECRETIVE, headers={"x-multicall-route": "both"}).status_code == 200
    assert shown(2)["kinds"]["phone"] == {"mistral": 1, "openai": 1}


def test_only_the_chosen_kinds_are_looked_for(ask: Ask, configure: Configure, shown: Shown) -> None:
    """Every examined call counts, whatever was found in it: a share has two numbers."""
    configure("datamap", sample_rate=1, kinds=["phone", "payment"])
    ask(MODEL, SECRETIVE)
    ask(MODEL, "hello")
    assert shown(2)["kinds"] == {"phone": {"openai": 1}}


def test_a_share_of_the_calls_is_examined(ask: Ask, configure: Configure, shown: Shown, traces: Any) -> None:
    """Drawn by the call's own number, so that each attempt at it is seen alike; none at 0."""
    configure("datamap", sample_rate=0.5)
    for _ in range(24):
        assert ask(MODEL, SECRETIVE).status_code == 200
    ids = [trace["id"] for trace in traces(24)]
    drawn = sum(datamap.share_of(id_) < 0.5 for id_ in ids)
    assert 2 <= drawn <= 22
    assert shown(drawn)["kinds"]["email"] == {"openai": drawn}
    configure("datamap", sample_rate=0)
    ask(MODEL, SECRETIVE)
    shown(drawn)


def test_counts_are_everybodys_and_outlive_a_restart(application: Application) -> None:
    """Two workers count into one map, at once; a worker that ends writes what it has left."""
    engine = application.runtime.engine
    flows = {Flow("email", "openai", "a"): 2, Flow("", "openai", "a"): 3, Flow("name", "groq", "b"): 1}
    turns = [threading.Thread(target=data_flows.add, args=(engine, flows)) for _ in range(6)]
    for turn in turns:
        turn.start()
    for turn in turns:
        turn.join()
    one = Datamap()
    one._engine = engine
    one._found.update({Flow("email", "openai", "a"): 5})
    asyncio.run(one.stop())
    told = data_flows.shown(engine)
    assert (told["calls"], told["kinds"]) == ({"openai": 18}, {"email": {"openai": 17}, "name": {"groq": 6}})
    first = told["flows"][0]
    assert (first["calls"], first["first_at"] <= first["last_at"]) == (17, True)


def test_what_the_database_does_not_take_is_brought_again(application: Application) -> None:
    """A database away for a moment costs no count."""
    engine = application.runtime.engine

    async def go() -> int:
        one = Datamap()
        one._engine = None  # type: ignore[assignment]
        one._found.update({Flow("email", "openai", "a"): 5})
        await one._work()
        one._engine = engine
        one.tend()
        assert one._turn is not None
        await one._turn
        return len(one._found)

    assert asyncio.run(go()) == 0
    assert data_flows.shown(engine)["kinds"] == {"email": {"openai": 5}}


def test_invented_projects_do_not_fill_the_table(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers name projects: beyond a bound, new ones count together, and known ones as before."""
    monkeypatch.setattr(data_flows, "MOST_ROWS", 3)
    engine = application.runtime.engine
    data_flows.add(engine, {Flow("email", "openai", "known"): 1})
    for number in range(9):
        data_flows.add(engine, {Flow("email", "openai", f"p{number}"): 1, Flow("email", "openai", "known"): 1})
    found = {flow["project"]: flow["calls"] for flow in data_flows.shown(engine)["flows"]}
    assert (found["known"], sum(found.values())) == (10, 19)
    assert len(found) <= 4
    assert found[""] >= 6


def test_a_worker_holds_no_more_prompts_than_it_may(ask: Ask, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond that a call is passed over, and said to be."""
    monkeypatch.setattr(datamap, "MOST_BYTES", 2_000)
    assert ask(MODEL, "x" * 3_000).status_code == 200
    assert ask(MODEL, SECRETIVE).status_code == 200
    stats = shown(1)
    assert (stats["examined"], stats["passed_over"]) == (1, 1)


def test_a_large_prompt_holds_nobody_up() -> None:
    """Ten million characters are searched beside the loop, which goes on meanwhile."""
    prompt = "Lorem ipsum dolor sit amet, consectetur adipiscing elit 12345. " * 160_000
    look = datamap.Look("p", {"openai": {"prompt": prompt}}, tuple(kinds.MAKERS), frozenset(), 0)

    async def late() -> float:
        one = Datamap()
        looking = asyncio.create_task(one._examine(look))
        worst = 0.0
        while not looking.done():
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - began)
        assert one._found == {Flow("", "openai", "p"): 1}
        return worst

    assert min(asyncio.run(late()) for _ in range(3)) < 0.1


@pytest.mark.parametrize("at", [0, kinds.PIECE - 9, kinds.PIECE, kinds.PIECE + 300, 2 * kinds.PIECE - 1])
def test_no_cut_hides_anything(at: int) -> None:
    """A long text is read in pieces; what lies across two of them is in one of them whole."""
    said = "x" * (at - 1) + (" " if at else "") + "4111 1111 1111 1111 and more " + "y" * 70_000
    assert kinds.kinds_in([said], ["email", "payment"], ()) == {"payment"}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("email", "write to nora.lindt+x@mail.example.org"),
        ("phone", "call (212) 555-7788"),
        ("phone", "call +41791234567"),
        ("name", "Dear Ms. Lindt"),
        ("name", "a note by Maria Lindt"),
        ("payment", "4111 1111 1111 1111"),
        ("payment", "IBAN CH93 0076 2011 6238 5295 7 please"),
        ("payment", "DE89370400440532013000 IS MINE"),
        ("address", "12 Rosebery Avenue"),
        ("address", "1600 Pennsylvania Ave"),
        ("address", "Lange Straße 5"),
        ("address", "Bahnhofstrasse 12"),
        ("address", "Keizersgracht 174"),
        ("address", "10 rue de Rivoli"),
        ("address", "Via Giuseppe Garibaldi 7"),
        ("address", "Springfield, IL 62704"),
        ("address", "London SW1A 1AA"),
        ("address", "PO Box 1234"),
    ],
)
def test_each_kind_is_told_by_its_signs(kind: str, said: str) -> None:
    """And taken for no other."""
    assert kinds.kinds_in([said], kinds.MAKERS, ()) == {kind}


@pytest.mark.parametrize(
    "said",
    [
        "4111 1111 1111 1112",
        "CH93 0076 2011 6238 5295 8",
        "DE8937040044053201300",
        "version 3.11.7 of 2026-11-22, 1234567 rows in 0.5 s",
        "turn left, then go straight on for 3 miles",
        "def street(number: int) -> str: return f'{number} street'",
        "id 3f2504e0-4f89-11d3-9a0c-0305e82c3301 at 127.0.0.1:8080",
    ],
)
def test_what_only_looks_like_it_is_nothing(said: str) -> None:
    """Check digits that are wrong, and the numbers that programs are full of."""
    assert kinds.kinds_in([said], kinds.MAKERS, ()) == set()


def test_every_kind_of_the_setting_has_a_finder() -> None:
    """Nothing can be chosen that is then not looked for."""
    assert set(defaults("datamap")["kinds"]) == set(kinds.MAKERS)
