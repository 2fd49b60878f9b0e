"""The worst case of a call: an amount its cost cannot exceed while the provider keeps to what was asked.

Input: no token is less than one byte of the request's JSON, so its length is a bound that no tokenizer breaks, where
the four characters a token of the usual estimate are only a mean. What is no text (an image, a sound, a file) counts
`PART_TOKENS` more, and the model's context window, where it is known, bounds them all. Output: the stated maximum times
the choices asked for; without one the most the model writes, or `UNKNOWN_OUTPUT`. Rates: the dearest that could apply.
A provider that reports more is charged all the same: the excess is counted, told of, and closes the budget sooner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from app.gateway.money import FEMTO, Price, Rates
from app.gateway.wire import Kind

if TYPE_CHECKING:
    from app.gateway.wire import Json

UNKNOWN_OUTPUT: Final = 16_384
# High-detail pictures are billed at up to about 49,000 tokens (gpt-4o-mini, eight tiles).
PART_TOKENS: Final = 65_536
# What providers put around a request by themselves: turns, and for tools a prompt of up to 530 tokens (Anthropic).
FRAME_TOKENS: Final = 1_024
MOST_TOKENS: Final = 10**9
# No single call counts for more in the rollups.
MOST_NANO: Final = 10**15
RESULT: Final = "tool_result"
SPOKEN: Final = frozenset({"text", "input_text", "output_text", "refusal", RESULT, "tool_use", "thinking"})


class Again(NamedTuple):
    """How often modules may ask once more, and the tokens they add to that in all, besides answers and hints."""

    times: int = 0
    room: int = 0


ONCE: Final = Again()


def worst_case(
    kind: Kind, body: Json, price: Price, assumed_output: int = 0, *, sent_bytes: int = 0, again: Again = ONCE
) -> int:
    """Nano-dollars that the call cannot cost more than at this price. `assumed_output` 0: what the model can write.

    `sent_bytes` is the request's length on a wire that may go out as it came. Each further asking holds the answer
    before and a hint.
    """
    tokens_out = most_output(kind, body, price.max_output, assumed_output)
    tokens_in = most_input(body, price.context, sent_bytes) + again.times * (tokens_out + FRAME_TOKENS) + again.room
    reachable = [price.base, *(tier.rates for tier in price.tiers if tier.above < tokens_in)]
    femto = max(tokens_in * _dearest_input(r) + tokens_out * _dearest_output(r) for r in reachable)
    return min(-(-femto * (1 + again.times) // FEMTO), MOST_NANO)


def _dearest_input(rates: Rates) -> int:
    return max(rates.input, rates.cache_read or 0, rates.cache_write or 0, rates.cache_write_1h or 0)


def _dearest_output(rates: Rates) -> int:
    return max(rates.output, rates.reasoning or 0)


def most_input(body: Json, context: int | None, sent_bytes: int = 0) -> int:
    """Tokens the request cannot be more than."""
    tokens = max(len(orjson.dumps(body)), sent_bytes) + FRAME_TOKENS + PART_TOKENS * _silent_parts(body.get("messages"))
    many = isinstance(body.get("prompt", body.get("input")), list)
    return tokens if context is None or many else min(tokens, context)


def _silent_parts(messages: Any) -> int:
    """The parts of a conversation that are no text."""
    contents = [m.get("content") for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    parts = [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]
    told = [part["content"] for part in parts if part.get("type") == RESULT and isinstance(part.get("content"), list)]
    parts += [part for content in told for part in content if isinstance(part, dict)]
    return sum(1 for part in parts if part.get("type") not in SPOKEN)


def most_output(kind: Kind, body: Json, max_output: int | None, assumed: int) -> int:
    """Tokens the answer cannot be more than; reasoning is part of them."""
    if kind is Kind.EMBEDDINGS:
        return 0
    stated = [value for name in ("max_tokens", "max_completion_tokens") if (value := _count(body.get(name)))]
    each = max(stated) if stated else assumed or max_output or UNKNOWN_OUTPUT
    return min(each * _answers(body), MOST_TOKENS)


def _answers(body: Json) -> int:
    """How many texts are written: choices, or the candidates they are chosen from, for each prompt."""
    prompt = body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
    return max(1, _count(body.get("n")), _count(body.get("best_of"))) * prompts


def _count(value: Any) -> int:
    return min(value, MOST_TOKENS) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
