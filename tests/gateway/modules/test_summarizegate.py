"""Long conversations go out with a summary of their old part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL, text_of
from gateway.upstream import Upstream
from stockyard.conftest import ada
from support.callers import Client
from support.people import Person

__all__ = ["ada"]

# What it does does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
Json = dict[str, Any]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
WRITER = "gpt-4.1-nano"
LIMITS: Json = {"trigger_tokens": 600, "keep_last": 2, "model": WRITER}
RULE: Json = {"role": "system", "content": "Be brief."}


def conversation(turns: int) -> list[Json]:
    """The operator's rule, so many long questions with their answers, and a last question."""
    said: list[Json] = [RULE]
    for turn in range(turns):
        said.append({"role": "user", "content": f"question {turn} " + "x" * 400})
        said.append({"role": "assistant", "content": f"answer {turn} " + "y" * 400})
    return [*said, {"role": "user", "content": "and now?"}]


def sent(upstream: Upstream) -> list[str]:
    """What the model was sent last: the beginning of every message."""
    messages = upstream.seen(MODEL)[-1]["body"]["messages"]
    return [f"{message['role']}: {message['content']}"[:70] for message in messages]


def stats(client: Client) -> Json:
    """What the module counted."""
    return dict(client.admin.get("/api/proxy/modules/summarizegate").json()["stats"])


@BOTH
def test_the_old_part_of_a_long_conversation_is_summarised(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Traces, stream: bool
) -> None:
    """By a call of its own, its caller's; the rule and the newest words stay as they are."""
    upstream.script(WRITER, {"text": "They spoke of trains."})
    configure("summarizegate", **LIMITS)
    assert text_of(ask(MODEL, messages=conversation(4), stream=stream)).startswith("The train")
    assert sent(upstream) == [
        "system: Be brief.",
        "user: Summary of the conversation so far:\nThey spoke of trains.",
        f"user: question 3 {'x' * 70}"[:70],
        f"assistant: answer 3 {'y' * 70}"[:70],
        "user: and now?",
    ]
    [asked] = upstream.seen(WRITER)
    told = asked["body"]["messages"][-1]["content"]
    assert [word in told for word in ("user: question 0", "assistant: answer 2", "question 3", "and now")] == [
        *(True, True, False, False)
    ]
    summary, call = traces(2)
    assert (summary["model"], summary["user_id"], summary["cost_nano"] > 0) == (WRITER, 1, True)
    assert call["id"] in str(summary["details"])


def test_what_was_summarised_is_not_summarised_again(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, ada: Person
) -> None:
    """While it is short enough with it; then only what came since is added. Each caller has their own."""
    upstream.script(WRITER, {"text": "First."}, {"text": "Second."}, {"text": "Hers."})
    configure("summarizegate", **LIMITS)
    for turns in (4, 5):
        ask(MODEL, messages=conversation(turns))
        assert "First." in sent(upstream)[1]
    assert stats(client) == {"summarised": 1, "reused": 1, "failed": 0}
    ask(MODEL, messages=conversation(6))
    assert ("Second." in sent(upstream)[1], len(upstream.seen(WRITER))) == (True, 2)
    again = upstream.seen(WRITER)[-1]["body"]["messages"][-1]["content"]
    assert again.startswith("user: Summary of the conversation so far:\nFirst.\n\nuser: question 3")
    body = chat(MODEL) | {"messages": conversation(4)}
    assert ada.caller.post("/v1/chat/completions", json=body).status_code == 200
    assert "Hers." in sent(upstream)[1]


def test_without_a_summary_a_conversation_goes_on_as_it_is(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client
) -> None:
    """Late, failed or refused: the caller is told by a header; a short conversation has no need of one."""
    configure("retrypilot", enabled=False)
    configure("summarizegate", **LIMITS, timeout="200ms")
    whole = conversation(4)
    for step in ({"status": 500}, {"hang": True}, {"text": ""}):
        upstream.script(WRITER, step)
        answer = ask(MODEL, messages=whole)
        assert answer.headers["x-stockyard-warning"] == "summarizegate"
        assert len(sent(upstream)) == len(whole)
    assert stats(client)["failed"] == 3
    assert "x-stockyard-warning" not in ask(MODEL, messages=conversation(1)).headers
    assert len(sent(upstream)) == 4


def test_calls_for_tools_stay_with_their_results(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """What is kept begins with the user's word; instructions in the midst are kept, pictures are named."""
    upstream.script(WRITER, {"text": "Old."})
    configure("summarizegate", **LIMITS)
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    messages: list[Json] = [
        {"role": "user", "content": [{"type": "text", "text": "look " + "x" * 3000}, picture]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "system", "content": "Now in French."},
        {"role": "assistant", "content": "It rains."},
        {"role": "user", "content": "and in Chur?"},
        {"role": "assistant", "content": None, "tool_calls": [call | {"id": "c2"}]},
        {"role": "tool", "tool_call_id": "c2", "content": "sun"},
    ]
    ask(MODEL, messages=messages)
    kept = upstream.seen(MODEL)[-1]["body"]["messages"]
    assert [message["role"] for message in kept] == ["system", "user", "user", "assistant", "tool"]
    assert (kept[0]["content"], kept[2]["content"]) == ("Now in French.", "and in Chur?")
    told = upstream.seen(WRITER)[-1]["body"]["messages"][-1]["content"]
    assert "[image_url]" in told
    assert '[calls weather: {"city": "Bern"}]' in told
    assert "tool: rain" in told


def test_a_summary_is_made_where_its_call_may_go(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client
) -> None:
    """In its caller's region, or not at all; and never with a key that is the caller's own affair."""
    configure("regionroute", regions=[{"region": "us", "provider": "groq"}], default_region="us")
    configure("summarizegate", **LIMITS)
    ask(MODEL, messages=conversation(4))
    assert {seen["provider"] for model in (WRITER, MODEL) for seen in upstream.seen(model)} == {"groq"}
    configure("regionroute", enabled=False)
    own = client.bearing("sk-raw-0123456789")
    assert own.post("/v1/chat/completions", json=chat(MODEL) | {"messages": conversation(5)}).status_code == 200
    assert (len(upstream.seen(WRITER)), len(sent(upstream))) == (1, 12)
