"""Token counts are disjoint, whatever the provider's arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.usage import estimate_input, estimate_output, estimate_tokens, from_openai, to_openai
from app.gateway.wire import Kind, Usage

COUNTS = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, Usage(input=10, output=5)),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
            Usage(input=6, cache_read=4, output=5),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6},
            Usage(input=6, cache_read=4, output=5),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 4}, Usage(input=6, cache_read=4, output=5)),
        (
            {"prompt_tokens": 194, "completion_tokens": 2, "prompt_tokens_details": {"cache_write_tokens": 100}},
            Usage(input=94, cache_write=100, output=2),
        ),
        (
            {"prompt_tokens": 1, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 7}},
            Usage(input=1, output=2, reasoning=7),
        ),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(input=3)),
    ],
    ids=["plain", "openai", "deepseek", "moonshot", "openrouter", "reasoning", "embeddings"],
)
def test_every_dialect_of_usage_is_understood(reported: dict[str, Any], expected: Usage) -> None:
    """A cached or reasoning token counted twice is money charged twice."""
    assert from_openai(reported) == expected


def test_reasoning_counted_beside_the_completion_is_not_lost() -> None:
    """Reasoning is billed at xAI on top of `completion_tokens`; only its total shows it."""
    reported = {
        "prompt_tokens": 12,
        "completion_tokens": 1,
        "total_tokens": 399,
        "completion_tokens_details": {"reasoning_tokens": 386},
    }
    assert from_openai(reported) == Usage(input=12, output=1, reasoning=386)


@pytest.mark.parametrize(
    "reported",
    [None, {}, [], "12", {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": None}, {"prompt_tokens": -4}],
)
def test_a_report_of_nothing_is_no_report(reported: Any) -> None:
    """Unknown counts must be told apart from none: a call that cost nothing does not exist."""
    assert from_openai(reported) is None


@settings(deadline=None)
@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_what_we_report_reads_back_the_same(fresh: int, read: int, written: int, output: int, reasoning: int) -> None:
    """A gateway behind this gateway must count what we counted."""
    usage = Usage(input=fresh, cache_read=read, cache_write=written, output=output, reasoning=reasoning)
    assert from_openai(to_openai(usage)) == (usage if usage.tokens_in + usage.tokens_out else None)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens"]), st.integers(-9, 10**12))
)
def test_counts_never_go_below_zero(reported: dict[str, int]) -> None:
    """A provider's nonsense must not earn anyone a refund."""
    details = {"prompt_tokens_details": {"cached_tokens": 10**9}, "completion_tokens_details": {"reasoning_tokens": 7}}
    usage = from_openai(reported | details) or Usage()
    assert min(usage.input, usage.cache_read, usage.output, usage.reasoning) >= 0
    assert usage.tokens_in == max(reported.get("prompt_tokens", 0), 0)


def test_embeddings_report_no_completion() -> None:
    """OpenAI's embeddings have two counts and clients' types know no more."""
    assert to_openai(Usage(input=7), Kind.EMBEDDINGS) == {"prompt_tokens": 7, "total_tokens": 7}


def test_an_estimate_is_a_token_for_every_four_characters() -> None:
    """Rounded up, so that a cancelled stream is never free."""
    assert [estimate_tokens(text) for text in ("", "a", "four", "fives")] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": [{"role": "user", "content": "a" * 40}]}, 14),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a" * 40}]}]}, 14),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:" * 99}}]}]},
            4,
        ),
        ({"prompt": ["a" * 8, "b" * 4]}, 3),
        ({"input": [[1, 2, 3], [4]]}, 4),
        ({"input": "a" * 8}, 2),
        ({"messages": None}, 0),
    ],
)
def test_requests_of_every_shape_are_estimated(body: dict[str, Any], expected: int) -> None:
    """Reservations rest on this; an image's base64 is no text."""
    assert estimate_input(body) == expected


def test_tools_are_part_of_the_estimate() -> None:
    """Tool schemas are sent with every call and billed with every call."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    assert estimate_input({"messages": [], "tools": [tool]}) > 10


def test_tool_calls_are_part_of_the_output() -> None:
    """A model that only calls tools has still said something."""
    call = {"id": "call_1", "type": "function", "function": {"name": "four", "arguments": "a" * 8}}
    assert estimate_output({"choices": [{"message": {"content": None, "tool_calls": [call]}}]}) == 3
