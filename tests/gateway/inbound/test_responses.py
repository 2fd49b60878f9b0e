"""Responses in front of any provider: what chat has no words for is refused by name, signed thinking comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.gateway.inbound.responses import Responses
from app.gateway.providers import PROVIDERS
from app.gateway.wire import Kind, Target, UntranslatableError

Json = dict[str, Any]
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
SEAL = {"include": ["reasoning.encrypted_content"]}
REFUSED: list[Any] = [
    ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"tool_choice": {"type": "file_search"}, "tools": [{"type": "function", "name": "f"}]}, "tool_choice"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]}, "input"),
    ({"input": [{"role": "user"}]}, "input"),
]


def target(provider: str) -> Target:
    """Where a request goes."""
    return Target(PROVIDERS[provider], "http://127.0.0.1:1", "claude-x", "key")


def call(**fields: Any) -> Responses:
    """One call."""
    return Responses({"model": "m", "input": "x"} | fields)


@pytest.mark.parametrize(("fields", "param"), REFUSED)
def test_what_chat_cannot_say_is_refused_by_name(fields: Json, param: str) -> None:
    """Before any provider is asked."""
    with pytest.raises(UntranslatableError) as caught:
        call(**fields)
    assert caught.value.param == param


def test_tools_calls_and_choices_are_said_in_chat() -> None:
    """Only some of the tools, one at a time, with likelihoods and fewer words."""
    body = call(
        tools=[{"type": "function", "name": "f"}, {"type": "function", "name": "g", "strict": True}],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]},
        parallel_tool_calls=False,
        top_logprobs=2,
        text={"format": {"type": "json_object"}, "verbosity": "low"},
        seed=7,
    ).body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f", "g"]
    assert body["tool_choice"]["allowed_tools"]["tools"] == [{"type": "function", "function": {"name": "g"}}]
    assert (body["parallel_tool_calls"], body["logprobs"], body["top_logprobs"]) == (False, True, 2)
    assert (body["response_format"], body["verbosity"], body["seed"]) == ({"type": "json_object"}, "low", 7)


def test_signed_thinking_goes_to_the_client_sealed_and_back_to_anthropic_open() -> None:
    """Without it Anthropic would refuse the results of tools it called while thinking; others never see it."""
    raw: Json = {"id": "msg_1", "model": "claude-x", "stop_reason": "end_turn", "usage": {"input_tokens": 1}}
    raw["content"] = [SIGNED, {"type": "text", "text": "Yes."}]
    wire, first = PROVIDERS["anthropic"].wire, call(**SEAL)
    answer = first.wire(wire).answer(Kind.CHAT, json.dumps(raw).encode(), "claude-x")
    made = json.loads(first.plain(answer.body, answer.usage))
    assert [item["type"] for item in made["output"]] == ["reasoning", "message"]
    second = call(input=[{"role": "user", "content": "x"}, *made["output"], {"role": "user", "content": "y"}])
    sent = json.loads(second.wire(wire).outgoing(Kind.CHAT, second.body, target("anthropic")).body)
    assert sent["messages"][1]["content"] == [SIGNED, {"type": "text", "text": "Yes."}]
    plain = second.wire(PROVIDERS["openai"].wire).outgoing(Kind.CHAT, second.body, target("openai")).body
    assert b"c2ln" not in plain


def test_a_seal_of_somebody_else_is_not_opened() -> None:
    """OpenAI's own encrypted reasoning says nothing here; a broken seal of ours is refused."""
    turn = {"role": "user", "content": "x"}
    assert (
        len(call(input=[{"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}, turn]).body["messages"]) == 1
    )
    with pytest.raises(UntranslatableError, match="as this server gave it"):
        call(input=[{"type": "reasoning", "summary": [], "encrypted_content": "ym1.!"}, turn])
