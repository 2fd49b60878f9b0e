"""A chat completion as Anthropic's message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

from app.gateway.inbound.messages.native import BLOCKS, TOLD
from app.gateway.inbound.sequence import CALL, THINKING, Block, blocks_of
from app.gateway.providers.anthropic.answer import FINISH
from app.gateway.wire import Json, Usage

_STOPS: Final = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_DELTA: Final = ("stop_reason", "stop_sequence")


def message(whole: Json, usage: Usage, own_id: str, stops: Iterable[str]) -> Json:
    """The whole answer: its first choice, for Anthropic's clients know one only."""
    choice = whole["choices"][0]
    blocks = blocks_of(choice["message"])
    told = dict(choice.get(TOLD) or {})
    counted = counts(usage, told.pop("usage", None))
    head = {"id": message_id(whole["id"], own_id), "type": "message", "role": "assistant", "model": whole["model"]}
    own = native(choice["message"], blocks)
    content = [shown(block) for block in blocks] if own is None else own
    ended = ending(choice, stops, called=any(block.kind == CALL for block in blocks))
    return {**told, **head, "content": content, **ended, "usage": counted}


def message_id(given: str, own_id: str) -> str:
    """Anthropic's own id, or one of ours in its form."""
    return given if given.startswith("msg_") else own_id


def native(said: Json, blocks: list[Block]) -> list[Json] | None:
    """Anthropic's own blocks, while they say what the message says: a module may have changed that."""
    own: list[Json] | None = said.get(BLOCKS)
    if own is None:
        return None
    text = "".join(block["text"] for block in own if block["type"] == "text")
    calls = [(block["id"], block["name"], block.get("input") or {}) for block in own if block["type"] == "tool_use"]
    called = [(block.id, block.name, arguments(block)) for block in blocks if block.kind == CALL]
    same = text == (said.get("content") or "") and calls == called
    return [block for block in own if block.get("text") != ""] if same else None


def arguments(block: Block) -> Any:
    """The input of a tool call; what is no JSON object is shown the way Anthropic shows it."""
    try:
        read = orjson.loads(block.text or "{}")
    except orjson.JSONDecodeError:
        return {"INVALID_JSON": block.text}
    return read if isinstance(read, dict) else {"INVALID_JSON": block.text}


def begun(block: Block) -> Json:
    """The block as a stream begins it."""
    if block.kind == CALL:
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": {}, **block.extra}
    if block.kind == THINKING:
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def shown(block: Block) -> Json:
    """The finished block. A refusal's words are text to Anthropic; the stop reason says that it is one."""
    if block.kind == CALL:
        return begun(block) | {"input": arguments(block)}
    return begun(block) | {"thinking" if block.kind == THINKING else "text": block.text}


def ending(choice: Json, stops: Iterable[str], *, called: bool) -> Json:
    """Why it ended. A provider's own word for a stop sequence is believed when it is one of those asked for."""
    finish, told = choice.get("finish_reason"), choice.get(TOLD) or {}
    if finish is None:  # cut short
        return dict.fromkeys(_DELTA)
    if told and FINISH.get(told.get("stop_reason") or "", "stop") == finish:
        return {name: told.get(name) for name in _DELTA}
    sequence = choice.get("stop_reason")
    if finish == "stop" and not called and isinstance(sequence, str) and sequence in stops:
        return {"stop_reason": "stop_sequence", "stop_sequence": sequence}
    reason = "tool_use" if called and finish == "stop" else _STOPS.get(finish, "end_turn")
    return {"stop_reason": reason, "stop_sequence": None}


def counts(usage: Usage, told: Json | None = None) -> Json:
    """The counts, over what Anthropic told besides (its tier, the use of its own tools)."""
    counted: Json = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.tokens_out,
    }
    if usage.reasoning:
        counted["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return {**(told or {}), **counted}
