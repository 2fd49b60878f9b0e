"""A chat completion as OpenAI's response object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from app.gateway.inbound.responses.items import sealed
from app.gateway.inbound.sequence import CALL, REFUSAL, THINKING, Block, blocks_of
from app.gateway.wire import Json, Usage

SEALED: Final = "reasoning.encrypted_content"
CUT: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
# What a response repeats of its request, and what it says where the request said nothing.
_REPEATED: Final[Json] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "safety_identifier": None,
    "service_tier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_PREFIXES: Final = {CALL: "fc", THINKING: "rs"}


@dataclass(frozen=True, slots=True)
class Told:
    """One call's request, and what names its answer: the body of its ids, and when it began (Unix seconds)."""

    asked: Json
    seed: str
    created_at: int

    @property
    def seals(self) -> bool:
        """Whether the client wants thinking it can send back."""
        return SEALED in (self.asked.get("include") or ())

    def head(self, model: str) -> Json:
        """What every state of the response says alike. Nothing is stored, whatever was asked."""
        repeated = {name: self.asked[name] if self.asked.get(name) is not None else d for name, d in _REPEATED.items()}
        reasoning = {"effort": None, "summary": None} | (self.asked.get("reasoning") or {})
        kept = {"store": False, "background": False, "previous_response_id": None}
        named = {"id": f"resp_{self.seed}", "object": "response", "created_at": self.created_at, "model": model}
        return {**named, **repeated, "reasoning": reasoning, **kept}


def response(told: Told, whole: Json, usage: Usage) -> Json:
    """The whole response: of its first choice, for a response has no others."""
    choice = whole["choices"][0]
    finish = choice.get("finish_reason")
    blocks = blocks_of(choice["message"])
    thinking = choice["message"].get("thinking_blocks") or [] if told.seals else []
    if thinking and not any(block.kind == THINKING for block in blocks):
        blocks.insert(0, Block(THINKING))
    likely = (choice.get("logprobs") or {}).get("content") or []
    output = [item(told, block, place, thinking=thinking, likely=likely) for place, block in enumerate(blocks)]
    if output and finish in CUT:
        output[-1] |= unfinished(output[-1])
    return finished(told, whole["model"], output, finish, usage)


def finished(told: Told, model: str, output: list[Json], finish: str | None, usage: Usage) -> Json:
    """The response with its output and its counts: complete, or cut for a reason."""
    reason = CUT.get(finish or "")
    status = {
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
    }
    return told.head(model) | status | {"output": output, "usage": counts(usage)}


def item_id(told: Told, block: Block, place: int) -> str:
    """The item's id: of its response, and of its place there."""
    return f"{_PREFIXES.get(block.kind, 'msg')}_{told.seed}{place:02d}"


def item(
    told: Told, block: Block, place: int, *, thinking: list[Json] | None = None, likely: list[Any] | None = None
) -> Json:
    """The finished item of a block."""
    begun = begun_item(told, block, place)
    if block.kind == CALL:
        return begun | {"arguments": block.text or "{}", "status": "completed"}
    if block.kind == THINKING:
        summary = [{"type": "summary_text", "text": block.text}] if block.text else []
        return begun | {"summary": summary} | ({"encrypted_content": sealed(thinking)} if thinking else {})
    return begun | {"content": [part(block, likely or [])], "status": "completed"}


def begun_item(told: Told, block: Block, place: int) -> Json:
    """The item as a stream adds it."""
    named = item_id(told, block, place)
    if block.kind == CALL:
        call = {"call_id": block.id, "name": block.name, "arguments": ""}
        return {"type": "function_call", "id": named, **call, "status": "in_progress"}
    if block.kind == THINKING:
        return {"type": "reasoning", "id": named, "summary": []}
    return {"type": "message", "id": named, "status": "in_progress", "role": "assistant", "content": []}


def part(block: Block, likely: list[Any]) -> Json:
    """The content of a message item."""
    if block.kind == REFUSAL:
        return {"type": "refusal", "refusal": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": likely}


def unfinished(made: Json) -> Json:
    """The status of the item at which the answer was cut; reasoning has none."""
    return {"status": "incomplete"} if "status" in made else {}


def counts(usage: Usage) -> Json:
    """The counts; cached and reasoning tokens are inside their totals."""
    read = {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write + usage.cache_write_1h}
    return {
        "input_tokens": usage.tokens_in,
        "input_tokens_details": read,
        "output_tokens": usage.tokens_out,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.tokens_in + usage.tokens_out,
    }
