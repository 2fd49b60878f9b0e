"""A stream adds up to the answer that would have come without streaming."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.accumulate import Accumulator, accumulate, merged
from app.gateway.usage import to_openai
from app.gateway.wire import Usage

HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m"}
TEXTS = st.lists(st.text(max_size=5), max_size=6)


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    """One chunk of one choice."""
    return {**HEAD, "choices": [{"index": index, "delta": delta, "finish_reason": finish, **fields}]}


def message(*deltas: dict[str, Any]) -> dict[str, Any]:
    """The message deltas add up to."""
    whole: dict[str, Any] = accumulate([chunk(delta) for delta in deltas])["choices"][0]["message"]
    return whole


@settings(deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_texts_are_joined_in_order(content: list[str], reasoning: list[str], arguments: list[str]) -> None:
    """Nothing said is lost, doubled or moved."""
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {"reasoning_content": ""}]
    deltas += [{"reasoning_content": text} for text in reasoning] + [{"content": text} for text in content]
    deltas += [{"tool_calls": [call]}]
    deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": text}}]} for text in arguments]
    assert message(*deltas) == {
        "role": "assistant",
        "content": "".join(content),
        "reasoning_content": "".join(reasoning),
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "".join(arguments)}},
        ],
    }


def test_the_answer_has_the_plain_shape() -> None:
    """Traces and cache hold one shape, however the answer came."""
    chunks = [chunk({"role": "assistant", "content": "", "refusal": None}, logprobs=None), chunk({}, "stop")]
    usage = Usage(input=3, cache_read=1, output=2)
    assert accumulate([entry | {"system_fingerprint": "fp"} for entry in chunks], usage) == {
        "id": "c1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "system_fingerprint": "fp",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": to_openai(usage),
    }


def test_choices_are_kept_apart_and_in_order() -> None:
    """With `n` the chunks come interleaved."""
    chunks = [chunk({"content": "b"}, index=1), chunk({"content": "a"}), chunk({"content": "B"}, "length", index=1)]
    choices = accumulate(chunks)["choices"]
    assert [(one["index"], one["message"]["content"], one["finish_reason"]) for one in choices] == [
        (0, "a", None),
        (1, "bB", "length"),
    ]


def test_interleaved_calls_are_merged_by_index() -> None:
    """Parallel calls may be streamed a piece here and a piece there."""
    pieces = [
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "["}},
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "function": {"arguments": "]"}},
        {"index": 0, "function": {"arguments": "{"}},
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "}"}},
    ]
    calls = message(*({"tool_calls": [piece]} for piece in pieces))["tool_calls"]
    assert [(call["id"], call["function"]) for call in calls] == [
        ("a", {"name": "f", "arguments": "{}"}),
        ("b", {"name": "g", "arguments": "[]"}),
    ]


def test_log_probabilities_are_joined() -> None:
    """Each chunk holds those of its own tokens."""
    chunks = [chunk({"content": token}, logprobs={"content": [{"token": token}], "refusal": None}) for token in "ab"]
    assert accumulate(chunks)["choices"][0]["logprobs"] == {
        "content": [{"token": "a"}, {"token": "b"}],
        "refusal": None,
    }


@pytest.mark.parametrize(
    ("deltas", "content"),
    [
        ([{"content": None}], None),
        ([{"content": None}, {"content": "a"}], "a"),
        ([{"content": "a"}, {"content": None}], "a"),
        (
            [{"content": [{"type": "thinking"}]}, {"content": "a"}],
            [{"type": "thinking"}, {"type": "text", "text": "a"}],
        ),
        ([{"content": "a"}, {"content": [{"type": "x"}]}], [{"type": "text", "text": "a"}, {"type": "x"}]),
    ],
)
def test_content_may_be_null_text_or_parts(deltas: list[dict[str, Any]], content: Any) -> None:
    """Calls come with null content; Mistral's reasoning models mix parts and text."""
    assert message(*deltas)["content"] == content


def test_legacy_completions_add_up_to_text() -> None:
    """Their choices have texts, no messages."""
    pieces = [
        {"index": 0, "text": text, "logprobs": None, "finish_reason": end} for text, end in (("a", None), ("b", "stop"))
    ]
    whole = accumulate({**HEAD, "object": "text_completion", "choices": [piece]} for piece in pieces)
    assert whole["object"] == "text_completion"
    assert whole["choices"] == [{"index": 0, "text": "ab", "logprobs": None, "finish_reason": "stop"}]


def test_chunks_are_left_as_they_were() -> None:
    """The same chunks are on their way to the client."""
    piece = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}
    chunks = [chunk({"tool_calls": [piece]}), chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]})]
    before = copy.deepcopy(chunks)
    accumulate(chunks)
    assert chunks == before


def test_a_result_may_be_asked_for_at_any_time() -> None:
    """Cancelled streams are settled on what was said until then."""
    accumulator = Accumulator()
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}
    accumulator.add(chunk({"role": "assistant", "tool_calls": [call]}))
    accumulator.add(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}))
    first = accumulator.result()
    assert first == accumulator.result()
    assert first["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert first["choices"][0]["finish_reason"] is None
    assert "usage" not in first


def test_what_identifies_is_said_once() -> None:
    """Some repeat a call's id and name in every piece."""
    assert merged({"id": "a", "name": "f", "text": "x"}, {"id": "a", "name": "f", "text": "y"}) == {
        "id": "a",
        "name": "f",
        "text": "xy",
    }
