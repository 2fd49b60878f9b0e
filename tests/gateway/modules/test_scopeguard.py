"""What a key may do: which calls, which models, at what hours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from app.gateway.modules.conditions import times
from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from stockyard.conftest import ada
from support.callers import Client
from support.envelopes import Refusals
from support.people import Person

__all__ = ["ada"]

Configure = Callable[..., None]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
ONE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
MONDAY, SUNDAY = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)


def scope_of(refused: Refusals, answer: Any) -> str:
    """Which limit refused the call."""
    details = refused(answer, 403, "forbidden")["error"]["details"]
    assert details["reason"] == "scopeguard"
    return str(details["scope"])


@BOTH
def test_a_key_asks_only_for_its_models(
    configure: Configure, upstream: Upstream, client: Client, ada: Person, refused: Refusals, stream: bool
) -> None:
    """By glob, in whatever case, under an alias too; other keys are not concerned."""
    configure("modelalias", aliases=[{"alias": "house", "model": MODEL}, {"alias": "forbidden", "model": "gpt-4o"}])
    configure("scopeguard", scopes=[{"key": ada.key_id, "models": ["GPT-4o-m*"]}])
    assert [asked(ada, model, stream) for model in (MODEL, "house")] == [200, 200]
    assert asked(ada, "openai/gpt-4o-mini", stream) == 403
    assert scope_of(refused, answer(ada, "gpt-4o", stream)) == "model"
    assert scope_of(refused, answer(ada, "forbidden", stream)) == "model"
    assert upstream.seen("gpt-4o") == []
    assert client.user.post("/v1/chat/completions", json=chat("gpt-4o", stream=stream)).status_code == 200
    told = client.admin.get("/api/proxy/modules/scopeguard").json()["stats"]
    assert told == {"admitted": 2, "operation": 0, "model": 3, "hours": 0}


def answer(person: Person, model: str, stream: bool = False, **headers: str) -> Any:
    """What the person gets."""
    return person.caller.post("/v1/chat/completions", json=chat(model, stream=stream), headers=headers)


def asked(person: Person, model: str, stream: bool) -> int:
    """The status the person gets."""
    return int(answer(person, model, stream).status_code)


@ONE
def test_several_models_at_once_must_all_be_allowed(
    configure: Configure, upstream: Upstream, ada: Person, refused: Refusals
) -> None:
    """A header that leads to more models opens no door."""
    routes = [{"name": "race", "models": [MODEL, "gpt-4o"]}, {"name": "same", "models": [MODEL, "gpt-4o-mini-x"]}]
    configure("multicall", routes=routes)
    configure("scopeguard", scopes=[{"key": ada.key_id, "models": ["gpt-4o-mini*"]}])
    route = "X-MultiCall-Route"
    assert scope_of(refused, answer(ada, MODEL, **{route: "race"})) == "model"
    assert upstream.seen("gpt-4o") == []
    assert answer(ada, MODEL, **{route: "same"}).status_code == 200


@ONE
def test_a_user_is_held_whatever_the_key(configure: Configure, client: Client, ada: Person, refused: Refusals) -> None:
    """To the operations they may use, on any wire; a scope of nobody in particular concerns everybody."""
    configure("scopeguard", scopes=[{"user": ada.id, "operations": ["embeddings"]}])
    assert scope_of(refused, answer(ada, MODEL)) == "operation"
    body = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    assert ada.caller.post("/v1/messages", json=body).status_code == 403
    vectors = {"model": "text-embedding-3-small", "input": "hi"}
    assert ada.caller.post("/v1/embeddings", json=vectors).status_code == 200
    assert client.user.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    configure("scopeguard", scopes=[{"models": ["none"]}, {"user": ada.id}])
    for caller in (client.user, ada.caller, client.bearing("sk-raw-0123456789")):
        assert scope_of(refused, caller.post("/v1/chat/completions", json=chat(MODEL))) == "model"


@ONE
def test_a_key_works_in_its_hours(ask: Ask, configure: Configure, client: Client, refused: Refusals) -> None:
    """By the server's clock, UTC."""
    configure("scopeguard", scopes=[{"hours": "08-18", "days": ["mon"]}])
    guard = client.application.runtime.gateway.modules._made["scopeguard"]
    guard.clock = lambda: MONDAY.replace(hour=17, minute=59)
    assert ask(MODEL).status_code == 200
    guard.clock = lambda: MONDAY.replace(hour=18)
    assert scope_of(refused, ask(MODEL)) == "hours"
    guard.clock = lambda: SUNDAY.replace(hour=12)
    assert scope_of(refused, ask(MODEL)) == "hours"


@pytest.mark.parametrize(
    ("hours", "days", "on_sunday", "on_monday"),
    [
        ("", [], range(24), range(24)),
        ("08-18", [], range(8, 18), range(8, 18)),
        ("08-18", ["mon"], [], range(8, 18)),
        ("22-06", ["sun"], [22, 23], range(6)),
        ("08-08", ["sun"], range(8, 24), range(8)),
        ("20-24", ["mon"], [], range(20, 24)),
        ("20-00", ["mon"], [], range(20, 24)),
    ],
)
def test_hours_may_go_over_midnight(
    hours: str, days: list[str], on_sunday: Sequence[int], on_monday: Sequence[int]
) -> None:
    """And then belong to the day they began on."""
    span = times({"hours": hours, "days": days})
    assert [hour for hour in range(24) if span.hold(SUNDAY.replace(hour=hour))] == list(on_sunday)
    assert [hour for hour in range(24) if span.hold(MONDAY.replace(hour=hour))] == list(on_monday)


@pytest.mark.parametrize("hours", ["8-18", "25-30", "08-18 ", "soon"])
def test_hours_that_cannot_be_read_are_refused(client: Client, hours: str) -> None:
    """Nobody is let in, or kept out, by a slip."""
    answer = client.admin.put("/api/proxy/modules/scopeguard", json={"config": {"scopes": [{"hours": hours}]}})
    assert answer.status_code in {400, 422}, answer.text
    assert "span of hours such as 08-18" in answer.text
