"""Legacy completions said through chat."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from app.gateway.chat_response import embedding_list, encoded
from app.gateway.completions import chat_body, text_answer, text_chunk
from app.gateway.wire import Usage


@pytest.mark.parametrize("prompt", ["Say hi", ["Say hi"]])
def test_a_prompt_becomes_one_user_message(prompt: Any) -> None:
    """Everything else the caller asked for stays."""
    body = chat_body({"model": "m", "prompt": prompt, "max_tokens": 5, "echo": False, "best_of": 1, "stop": "."})
    assert body == {"model": "m", "max_tokens": 5, "stop": ".", "messages": [{"role": "user", "content": "Say hi"}]}


def test_messages_are_taken_where_a_prompt_was_expected() -> None:
    """Stockyard's own clients post messages here."""
    said = [{"role": "user", "content": "hi"}]
    assert chat_body({"messages": said}) == {"messages": said}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"prompt": ["a", "b"]}, "one prompt"),
        ({"prompt": [1, 2]}, "not tokens"),
        ({"prompt": []}, "must be text"),
        ({}, "must be text"),
        ({"prompt": "a", "suffix": "z"}, "suffix"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "logprobs": 3}, "logprobs"),
        ({"prompt": "a", "best_of": 3}, "best_of"),
    ],
)
def test_what_chat_cannot_say_is_refused(body: dict[str, Any], reason: str) -> None:
    """A completion without its suffix or echo is another text."""
    with pytest.raises(ValueError, match=reason):
        chat_body(body)


def test_an_answer_has_no_finish_reason_completions_do_not_know() -> None:
    """Typed clients refuse `tool_calls` here."""
    chat = {"id": "x", "choices": [{"index": 0, "message": {"content": None}, "finish_reason": "tool_calls"}]}
    assert text_answer(chat)["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]


def test_a_chunk_that_says_nothing_is_not_sent() -> None:
    """The role, reasoning and signatures of a chat have no place in a completion."""
    chunk = {"id": "x", "choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}
    assert text_chunk(chunk) is None


def test_embeddings_are_encoded_the_way_openai_does() -> None:
    """OpenAI's SDK asks for base64 of little-endian float32 by default."""
    body = embedding_list([[0.5, -2.0]], "m", Usage(input=1))
    (row,) = encoded(body, "base64")["data"]
    assert struct.unpack("<2f", base64.b64decode(row["embedding"])) == (0.5, -2.0)
    assert encoded(body, "float") is body
    assert encoded(encoded(body, "base64"), "base64")["data"] == [row]
