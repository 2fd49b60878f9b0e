"""Shims: what Claude and Gemini are sent, and asked again, as an operator chose; others are sent what was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL, text_of
from gateway.upstream import Upstream
from support.callers import Caller

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
CLAUDE, GEMINI = "claude-sonnet-4-5", "gemini-2.5-flash"
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
SAID: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE}
SAID |= {"content": [{"type": "text", "text": "Yes."}], "usage": {"input_tokens": 9, "output_tokens": 2}}
CLAUDES = json.dumps(SAID | {"stop_reason": "end_turn"})
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Again"},
]


@pytest.fixture
def claude(user: Caller, upstream: Upstream) -> Callable[..., Any]:
    """What Anthropic is sent for a call in OpenAI's form: `claude(messages, max_tokens=…)`."""

    def ask(messages: list[Any], **fields: Any) -> Any:
        upstream.script(CLAUDE, {"raw": CLAUDES, "type": "application/json"})
        body = {"model": CLAUDE, "messages": messages} | fields
        answer = user.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return upstream.seen(CLAUDE)[-1]["body"]

    return ask


def test_an_answers_length_is_the_operators_where_the_caller_names_none(claude: Any, configure: Configure) -> None:
    """A caller's own is kept; thinking makes its own room; another provider is sent no limit at all."""
    hello = [{"role": "user", "content": "Hello"}]
    assert claude(hello)["max_tokens"] == 4096
    configure("anthrofit", max_tokens_default=900)
    assert claude(hello)["max_tokens"] == 900
    assert claude(hello, max_tokens=50)["max_tokens"] == 50
    assert claude(hello, max_completion_tokens=60)["max_tokens"] == 60
    thinking = claude(hello, thinking={"type": "enabled", "budget_tokens": 2000})
    assert thinking["max_tokens"] > 2000


@BOTH
def test_others_are_sent_what_was_written(ask: Ask, configure: Configure, upstream: Upstream, *, stream: bool) -> None:
    """A shim is for one provider."""
    configure("anthrofit", max_tokens_default=900, system_prompt_mode="first")
    configure("geminishim")
    assert text_of(ask(MODEL, stream=stream))
    body = upstream.seen(MODEL)[-1]["body"]
    assert "max_tokens" not in body
    assert body["messages"] == [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("mode", "system", "turns"),
    [
        ("auto", "Be brief.\n\nBe kind.", [("user", ["Hello", "Again"])]),
        ("merge", "Be brief.\n\nBe kind.", [("user", ["Hello", "Again"])]),
        ("first", "Be brief.", [("user", ["Hello", "Be kind.", "Again"])]),
    ],
)
def test_system_messages_are_put_together_as_chosen(
    claude: Any, configure: Configure, *, mode: str, system: str, turns: list[Any]
) -> None:
    """What is said later in a conversation may stay there."""
    configure("anthrofit", system_prompt_mode=mode)
    sent = claude(MESSAGES)
    assert sent["system"] == system
    assert [(turn["role"], [block["text"] for block in turn["content"]]) for turn in sent["messages"]] == turns


def test_a_long_system_prompt_is_marked_for_the_cache(claude: Any, configure: Configure, admin: Caller) -> None:
    """A short one is not, nor one whose caller marked something; without the module nothing is."""
    long = [{"role": "system", "content": "x" * 5_000}, *MESSAGES]
    assert isinstance(claude(long)["system"], str)
    configure("anthrofit")
    marked = claude(long)["system"]
    assert [block.get("cache_control") for block in marked] == [None, None, {"type": "ephemeral"}]
    assert isinstance(claude(MESSAGES)["system"], str)
    own = [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}]
    assert "cache_control" not in str(claude([*long, *own])["system"])
    configure("anthrofit", cache_control=False)
    assert isinstance(claude(long)["system"], str)
    assert admin.get("/api/proxy/modules/anthrofit").json()["stats"] == {"fitted": 4, "limited": 4, "cached": 1}


def gemini(text: str, reason: str) -> str:
    """An answer of Gemini's."""
    content = {"role": "model", "parts": [{"text": text}] if text else []}
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    return json.dumps(
        {"candidates": [{"content": content, "finishReason": reason, "index": 0}], "usageMetadata": usage}
    )


@pytest.fixture(autouse=True)
def _gemini(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """This server has a key for Gemini, too."""
    for name, value in upstream.environment("gemini").items():
        monkeypatch.setenv(name, value)


def scripted(upstream: Upstream, *steps: tuple[str, str]) -> None:
    """What Gemini answers in turn; its model stands in the path, so that the body names none."""
    upstream.script("", *({"raw": gemini(*step), "type": "application/json"} for step in steps))


@BOTH
def test_an_answer_that_was_withheld_is_asked_for_again(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Traces, admin: Caller, *, stream: bool
) -> None:
    """Once, and paid for twice: the caller gets what the second attempt says."""
    configure("geminishim")
    scripted(upstream, ("", "SAFETY"), ("A careful answer.", "STOP"))
    assert text_of(ask(GEMINI, stream=stream)) == "A careful answer."
    [row] = traces(1)
    assert (row["tokens_in"], row["tokens_out"], row["attempts"]) == (20, 10, 2)
    assert admin.get("/api/proxy/modules/geminishim").json()["stats"] == {"asked_again": 1, "withheld": 0}


def test_what_stays_withheld_is_passed_on_as_it_came(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Traces, admin: Caller
) -> None:
    """With its reason; and at once where nothing is to be asked again."""
    configure("geminishim", max_retries=2)
    scripted(upstream, ("", "SAFETY"))
    assert ask(GEMINI).json()["choices"][0]["finish_reason"] == "content_filter"
    assert admin.get("/api/proxy/modules/geminishim").json()["stats"] == {"asked_again": 2, "withheld": 1}
    configure("geminishim", safety_retry=False)
    assert ask(GEMINI).json()["choices"][0]["finish_reason"] == "content_filter"
    assert [row["attempts"] for row in traces(2)] == [3, 1]
