"""The beginning that a prompt shares with one before it, marked for Anthropic's cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL
from gateway.modules.test_shims import CLAUDE, CLAUDES, claude
from gateway.upstream import Upstream
from stockyard.conftest import ada
from support.callers import Client
from support.people import Person

__all__ = ["ada", "claude"]

# What it does does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Json = dict[str, Any]
HINT = {"type": "ephemeral"}
RULES: Json = {"role": "system", "content": "Rules. " + "x" * 1000}
FIRST: Json = {"role": "user", "content": "A long document. " + "y" * 4000}
ANSWER: Json = {"role": "assistant", "content": "I have read it."}


def asking(text: str) -> Json:
    """A question of the user's."""
    return {"role": "user", "content": text}


def marks(sent: Json) -> list[str]:
    """The beginning of every text that is marked, in the order Anthropic reads them."""
    parts = [sent["system"], *(turn["content"] for turn in sent["messages"])]
    blocks = [block for part in parts if isinstance(part, list) for block in part]
    return [str(block.get("text") or block["type"])[:10] for block in blocks if block.get("cache_control") == HINT]


def test_what_was_sent_before_is_marked(claude: Any, configure: Configure, client: Client) -> None:
    """As far as it is the same, and long enough; the first time nothing is, nor without the module."""
    for _ in range(2):
        assert marks(claude([RULES, FIRST])) == []
    configure("partialcache")
    assert marks(claude([RULES, FIRST])) == []
    assert marks(claude([RULES, FIRST])) == ["A long doc"]
    assert marks(claude([RULES, FIRST, ANSWER, asking("Why?")])) == ["A long doc"]
    assert marks(claude([RULES, FIRST, ANSWER, asking("How?")])) == ["I have rea"]
    assert marks(claude([RULES, asking("Something else")])) == []
    assert marks(claude([RULES | {"content": "Other rules."}, FIRST])) == []
    assert client.admin.get("/api/proxy/modules/partialcache").json()["stats"] == {"marked": 3, "left": 3}


def test_what_is_short_old_or_somebody_elses_is_not_marked(
    claude: Any, configure: Configure, client: Client, upstream: Upstream, ada: Person
) -> None:
    """A beginning is a caller's, of one model and its tools, and worth a mark for as long as it is kept."""
    configure("partialcache", min_tokens=1200)
    module = client.application.runtime.gateway.modules._made["partialcache"]
    moment = module.clock()
    module.clock = lambda: moment
    claude([RULES, FIRST])
    assert ada.caller.post("/v1/chat/completions", json=chat(CLAUDE) | {"messages": [RULES, FIRST]}).status_code == 200
    assert marks(upstream.seen(CLAUDE)[-1]["body"]) == []
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    assert marks(claude([RULES, FIRST], tools=tools)) == []
    module.clock = lambda: moment + 299
    assert marks(claude([RULES, FIRST])) == ["A long doc"]
    module.clock = lambda: moment + 600
    assert marks(claude([RULES, FIRST])) == []
    configure("partialcache", min_tokens=1300)
    assert marks(claude([RULES, FIRST])) == []
    configure("partialcache", min_tokens=1200, ttl="1h")
    marked = claude([RULES, FIRST])["messages"][0]["content"][0]
    assert marked["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


def test_a_mark_goes_where_it_is_taken(claude: Any, configure: Configure) -> None:
    """On words and tools' results; what a caller marked stays as it is, and another's module adds none."""
    configure("partialcache", min_tokens=500)
    configure("anthrofit")
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    calling: Json = {"role": "assistant", "content": None, "tool_calls": [call]}
    result: Json = {"role": "tool", "tool_call_id": "c1", "content": "rain"}
    claude([RULES, FIRST, calling])
    assert marks(claude([RULES, FIRST, calling, result])) == ["A long doc"]
    assert marks(claude([RULES, FIRST, calling, result])) == ["tool_resul"]
    own = {"role": "user", "content": [{"type": "text", "text": "mine", "cache_control": HINT}]}
    assert marks(claude([RULES, FIRST, own])) == ["mine"]


def test_a_call_that_is_tried_again_shares_nothing_with_itself(
    claude: Any, configure: Configure, upstream: Upstream, client: Client
) -> None:
    """And other providers are sent what was written."""
    configure("partialcache", min_tokens=100)
    configure("retrypilot", base_delay="1ms")
    upstream.script(CLAUDE, {"status": 500}, {"raw": CLAUDES, "type": "application/json"})
    body = {"model": CLAUDE, "messages": [RULES, FIRST]}
    assert client.user.post("/v1/chat/completions", json=body).headers["x-stockyard-attempts"] == "2"
    assert [marks(seen["body"]) for seen in upstream.seen(CLAUDE)] == [[], []]
    for _ in range(2):
        assert client.user.post("/v1/chat/completions", json=body | {"model": MODEL}).status_code == 200
    assert upstream.seen(MODEL)[-1]["body"]["messages"] == [RULES, FIRST]


def test_anthropics_own_wire_is_marked_too(configure: Configure, client: Client, upstream: Upstream, ask: Ask) -> None:
    """Whichever way a call came."""
    configure("partialcache", min_tokens=100)
    upstream.script(CLAUDE, {"raw": CLAUDES, "type": "application/json"})
    body = {"model": CLAUDE, "max_tokens": 50, "system": RULES["content"], "messages": [FIRST]}
    for _ in range(2):
        assert client.user.post("/v1/messages", json=body).status_code == 200
    assert [marks(seen["body"]) for seen in upstream.seen(CLAUDE)] == [[], ["A long doc"]]
