"""An Anthropic message as an OpenAI chat completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.gateway.chat_response import Head, fresh_id, message, parsed, tool_call, understood
from app.gateway.providers.openai.errors import complaint
from app.gateway.usage import count
from app.gateway.wire import Answer, BadAnswerError, Usage

if TYPE_CHECKING:
    from app.gateway.wire import Json

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def completion(raw: bytes, model: str) -> Answer:
    """The whole answer; BadAnswerError when the body is an error, HTML, or no message."""
    body = parsed(raw, "anthropic")
    if body.get("type") == "error":
        raise BadAnswerError(complaint(body).message)
    if not isinstance(body.get("content"), list):
        raise BadAnswerError("anthropic answered with no content")
    with understood("anthropic"):
        return _answer(body, model)


def _answer(body: Json, model: str) -> Answer:
    head = Head(body.get("id") or fresh_id(), body.get("model") or model)
    choice = {"index": 0, "message": _message(body), "logprobs": None, "finish_reason": finish(body)}
    return head.answer([choice], read_usage(body.get("usage")))


def _message(body: Json) -> Json:
    blocks = body["content"]
    said = message(
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        calls=[
            tool_call(block["id"], block["name"], block.get("input") or {})
            for block in blocks
            if block["type"] == "tool_use"
        ],
        reasoning="".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        refusal=explanation(body),
    )
    signed = [block for block in blocks if is_signed(block)]
    return {**said, "thinking_blocks": signed} if signed else said


def is_signed(block: Json) -> bool:
    """Whether this is a thinking block that Anthropic wants back, unchanged, beside the results of its tools."""
    return block["type"] == "redacted_thinking" or (block["type"] == "thinking" and bool(block.get("signature")))


def finish(body: Json) -> str:
    """OpenAI's finish reason for a message or a `message_delta`."""
    return FINISH.get(body.get("stop_reason") or "end_turn", "stop")


def explanation(body: Json) -> str | None:
    """Why Anthropic refused, when it says so."""
    reason = (body.get("stop_details") or {}).get("explanation")
    return reason if body.get("stop_reason") == "refusal" and isinstance(reason, str) else None


def read_usage(usage: Any) -> Usage | None:
    """Anthropic's counts in disjoint parts: its `input_tokens` never include cached ones. None when there are none."""
    if not isinstance(usage, dict) or not any(count(value) for value in usage.values()):
        return None
    written, output = count(usage.get("cache_creation_input_tokens")), count(usage.get("output_tokens"))
    written_1h = min(written, count((usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens")))
    reasoning = min(output, count((usage.get("output_tokens_details") or {}).get("thinking_tokens")))
    return Usage(
        input=count(usage.get("input_tokens")),
        cache_read=count(usage.get("cache_read_input_tokens")),
        cache_write=written - written_1h,
        cache_write_1h=written_1h,
        output=output - reasoning,
        reasoning=reasoning,
    )
