"""The worst case is one: no call costs more, while its provider keeps to what was asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.caps.bound import PART_TOKENS, UNKNOWN_OUTPUT, most_input, most_output, worst_case
from app.gateway.money import Price, Rates, Tier, cost
from app.gateway.providers.sandbox.answers import answer
from app.gateway.usage import estimate_input, from_openai
from app.gateway.wire import Kind, Usage

Json = dict[str, Any]
RATE = st.integers(0, 10**11)
RATES = st.builds(Rates, RATE, RATE, *[st.none() | RATE] * 4)
TIERS = st.lists(st.builds(Tier, st.integers(1, 5_000), RATES), max_size=3, unique_by=lambda tier: tier.above)


def priced(base: Rates, tiers: list[Tier], context: int | None) -> Price:
    """A price with its tiers in order."""
    return Price("p", "m", base, tuple(sorted(tiers, key=lambda tier: tier.above)), context=context)


PRICES = st.builds(priced, RATES, TIERS, st.none() | st.integers(1, 10_000))
SAID = st.builds(lambda text: {"role": "user", "content": text}, st.text(max_size=300))
MESSAGES = st.lists(SAID, min_size=1, max_size=4)
LIMITS = st.dictionaries(st.sampled_from(["max_tokens", "max_completion_tokens", "n"]), st.integers(1, 40))


@given(MESSAGES, LIMITS, PRICES, st.data())
def test_no_split_of_tokens_costs_more(messages: list[Json], limits: Json, price: Price, data: st.DataObject) -> None:
    """However a provider divides them into cached, written, plain and reasoning ones."""
    body = {"model": "m", "messages": messages} | limits
    most_in, most_out = most_input(body, price.context), most_output(Kind.CHAT, body, price.max_output, 0)
    cuts = sorted(data.draw(st.lists(st.integers(0, most_in), min_size=4, max_size=4)))
    written = data.draw(st.integers(0, most_out))
    parts = [cuts[0], cuts[1] - cuts[0], cuts[2] - cuts[1], cuts[3] - cuts[2]]
    usage = Usage(*parts, output=written, reasoning=data.draw(st.integers(0, most_out - written)))
    assert cost(usage, price) <= worst_case(Kind.CHAT, body, price)


@given(MESSAGES, LIMITS, RATES)
def test_what_the_sandbox_bills_is_within_it(messages: list[Json], limits: Json, rates: Rates) -> None:
    """A real answer to a real request, in any script; and so is our own estimate."""
    body = {"model": "m", "messages": messages} | limits
    usage = from_openai(answer(Kind.CHAT, body)["usage"])
    assert usage is not None
    price = Price("p", "m", rates)
    assert cost(usage, price) <= worst_case(Kind.CHAT, body, price)
    assert estimate_input(body) <= most_input(body, None)


@pytest.mark.parametrize(
    ("body", "kind", "most"),
    [
        ({}, Kind.CHAT, UNKNOWN_OUTPUT),
        ({"max_tokens": 5, "max_completion_tokens": 7}, Kind.CHAT, 7),
        ({"max_tokens": 5, "n": 3}, Kind.CHAT, 15),
        ({"max_tokens": 5, "n": 2, "best_of": 4, "prompt": ["a", "b"]}, Kind.COMPLETIONS, 40),
        ({"max_tokens": 5, "prompt": [1, 2, 3]}, Kind.COMPLETIONS, 5),
        ({"max_tokens": None, "n": None}, Kind.CHAT, UNKNOWN_OUTPUT),
        ({"input": "a"}, Kind.EMBEDDINGS, 0),
    ],
)
def test_output_is_what_may_be_written(body: Json, kind: Kind, most: int) -> None:
    """All choices, all prompts, and the candidates nobody sees."""
    assert most_output(kind, body, None, 0) == most


def test_without_a_stated_maximum_the_models_own_or_the_operators_holds() -> None:
    """A model that may write 64,000 tokens can cost 64,000 tokens."""
    assert most_output(Kind.CHAT, {}, 64_000, 0) == 64_000
    assert most_output(Kind.CHAT, {}, 64_000, 4_096) == 4_096
    assert most_output(Kind.CHAT, {"max_tokens": 9}, 64_000, 4_096) == 9


def test_pictures_count_though_they_are_short() -> None:
    """An address of an image is a hundred bytes, and the image thousands of tokens; the context bounds both."""
    picture = {"type": "image_url", "image_url": {"url": "https://images.example/1.png"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [picture, {"type": "text", "text": "What?"}]}]}
    assert PART_TOKENS < most_input(body, None) < PART_TOKENS + 2_000
    assert most_input(body, 8_000) == 8_000
    told = {"type": "tool_result", "tool_use_id": "t", "content": [picture]}
    assert most_input({"messages": [{"role": "user", "content": [told]}]}, None) > PART_TOKENS
