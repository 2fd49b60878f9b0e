"""Vendors' names in a text: found in every form in which errors tell them, and replaced."""

from __future__ import annotations

import pytest

from app.gateway.vendors import unbranded


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("openai: no", "Acme: no"),
        ("together: tools cannot be used together", "Acme: tools cannot be used together"),
        ("The circuit of replicate is open; replicate it", "The circuit of Acme is open; replicate it"),
        ("Visit https://console.groq.com/keys. Bye", "Visit Acme. Bye"),
        ("api.anthropic.com was not reached", "Acme was not reached"),
        ("OPENAI_API_KEY is not set", "Acme is not set"),
        ("Together AI is down", "Acme is down"),
        ("gpt-4o and gpt-4o-2024-08-06 and gpt-4o-mini", "ours and ours and small"),
        ("claude-3-5-haiku@20241022 is gone, o3-mini too.", "shown is gone, shown too."),
        ("Rate limit in organization org-Ab12Cd34Ef", "Rate limit in organization [redacted]"),
        ("our-gpt is ours", "our-gpt is ours"),
        ("the command-line option max_tokens is metadata", "the command-line option max_tokens is metadata"),
    ],
)
def test_a_vendor_is_known_by_name_address_or_model(said: str, shown: str) -> None:
    """And nothing else is taken for one: an error must still say what is wrong."""
    assert unbranded(said, "Acme", "shown", {"gpt-4o": "ours", "gpt-4o-mini": "small", "our-gpt": "our-gpt"}) == shown


def test_a_long_text_is_read_at_once() -> None:
    """Whatever a provider says, its words cost no more than reading them."""
    for piece in ("a-", "a.", "gpt-", "openai.", "https://", "x"):
        assert len(unbranded(piece * 50_000, "A", "b", {})) > 0
