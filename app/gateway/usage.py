"""Token counts: read from and written in OpenAI's `usage` object, or estimated where a provider reports none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from app.gateway.wire import Kind, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.gateway.wire import Json

CHARS_PER_TOKEN: Final = 4
TOKENS_PER_MESSAGE: Final = 4
NUMBERS: Final = (int, float)
_NO_DETAILS: Final[Json] = {}


def count(value: Any) -> int:
    """A token count as a provider wrote it; 0 for anything that is no positive number."""
    return int(value) if isinstance(value, NUMBERS) and 0 < value < 2**53 else 0


def from_openai(usage: Any) -> Usage | None:
    """The disjoint counts of a `usage` object; None when it reports nothing, which means the counts are unknown.

    Cached tokens are part of `prompt_tokens`: OpenAI, Groq and xAI put them under `prompt_tokens_details`, Moonshot
    and Together in `cached_tokens`, DeepSeek in `prompt_cache_hit_tokens`. Reasoning is part of `completion_tokens`,
    except at xAI, which counts it beside them: told apart by whether `total_tokens` holds all three.
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if not prompt and not completion:
        return None
    read, written = _cached(usage, prompt)
    reasoning = 0
    if details := usage.get("completion_tokens_details"):
        reasoning = count(details.get("reasoning_tokens")) if isinstance(details, dict) else 0
    if reasoning and count(usage.get("total_tokens")) < prompt + completion + reasoning:
        reasoning = min(reasoning, completion)
        completion -= reasoning
    return Usage(
        input=prompt - read - written, cache_read=read, cache_write=written, output=completion, reasoning=reasoning
    )


def _cached(usage: Json, prompt: int) -> tuple[int, int]:
    """How many of the prompt's tokens came from a cache, and how many went into one."""
    details = usage.get("prompt_tokens_details")
    if not isinstance(details, dict):
        details = _NO_DETAILS
    cached = details.get("cached_tokens") or usage.get("cached_tokens") or usage.get("prompt_cache_hit_tokens")
    read = min(count(cached), prompt) if cached else 0
    written = details.get("cache_write_tokens")
    return read, min(count(written), prompt - read) if written else 0


def to_openai(usage: Usage, kind: Kind = Kind.CHAT) -> Json:
    """The `usage` object clients read: cached and reasoning tokens are inside their totals again."""
    if kind is Kind.EMBEDDINGS:
        return {"prompt_tokens": usage.tokens_in, "total_tokens": usage.tokens_in}
    details = {"cached_tokens": usage.cache_read}
    if written := usage.cache_write + usage.cache_write_1h:
        details["cache_write_tokens"] = written
    return {
        "prompt_tokens": usage.tokens_in,
        "completion_tokens": usage.tokens_out,
        "total_tokens": usage.tokens_in + usage.tokens_out,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def estimate_tokens(text: str) -> int:
    """About how many tokens a text is: one for every four characters, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


def estimate_input(body: Json) -> int:
    """About how many tokens a request is, of any kind; parts that are no text (images, audio) count nothing."""
    messages = body.get("messages")
    total = TOKENS_PER_MESSAGE * len(messages) if isinstance(messages, list) else 0
    total += sum(map(estimate_tokens, texts(messages)))
    for name in ("prompt", "input"):
        total += _loose_tokens(body.get(name))
    if tools := body.get("tools"):
        total += -(-len(orjson.dumps(tools)) // CHARS_PER_TOKEN)
    return total


def _loose_tokens(value: Any) -> int:
    """Tokens of `prompt` or `input`: a text, token ids, or a list of either."""
    if isinstance(value, str):
        return estimate_tokens(value)
    if isinstance(value, list):
        return sum(1 if isinstance(item, int | float) else _loose_tokens(item) for item in value)
    return 0


def estimate_output(body: Json) -> int:
    """About how many tokens a complete answer's choices are, tool calls and reasoning included."""
    choices = body.get("choices")
    return sum(map(estimate_tokens, texts(choices)))


_SPOKEN: Final = ("content", "text", "reasoning_content", "reasoning", "refusal", "arguments", "name", "input")
_NESTED: Final = ("message", "tool_calls", "function", "function_call", "custom")


def texts(value: Any) -> Iterator[str]:
    """Every text said in messages, choices or content parts; data URLs and ids are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for name in _SPOKEN + _NESTED:
            if inner := value.get(name):
                yield from texts(inner)
