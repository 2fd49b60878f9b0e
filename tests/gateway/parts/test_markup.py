"""Markup that is taken out of a text: the same words are left, wherever a stream is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.modules.voicebridge import Voicebridge

PARTS = [
    "**",
    "*",
    "_",
    "`",
    "# ",
    "\n",
    "- ",
    "> ",
    "| ",
    " |",
    "[a](b)",
    "![",
    "](",
    "<b>",
    "<",
    "word",
    " ",
    "---",
    "```",
    "é",
]
MADE = Voicebridge().steps({"max_chars": 10_000, "strip_markdown": True}).spoken


def spoken(pieces: list[str]) -> str:
    """What is left of a text that comes in these pieces."""
    assert MADE is not None
    line = MADE(None)  # type: ignore[arg-type]
    assert line is not None
    return "".join([*map(line.feed, pieces), line.end()])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=14).map("".join), st.lists(st.integers(0, 60), max_size=6))
def test_pieces_are_spoken_like_the_whole(text: str, cuts: list[int]) -> None:
    """And no word is ever lost; but in addresses, tags and the language of code."""
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    whole = spoken([text])
    assert spoken([text[a:b] for a, b in pairwise(ends)]) == whole
    assert spoken(list(text)) == whole
    unspoken = any(mark in text for mark in ("](", "```", "~~~", "<"))
    assert whole.count("word") == text.count("word") or unspoken


def test_a_sentence_is_not_held_until_its_end() -> None:
    """Somebody is listening: only what may be markup waits."""
    assert MADE is not None
    line = MADE(None)  # type: ignore[arg-type]
    assert line is not None
    assert line.feed("One two. Three four. Five") == "One two. Three four."
    assert line.feed(" **six** [x") == ""
