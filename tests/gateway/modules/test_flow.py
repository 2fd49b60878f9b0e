"""Streamed filtering against plain filtering: the same text leaves, wherever the network cut it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.flow import Flow
from app.gateway.patterns import PatternError, linear
from support.timing import cpu_seconds

PIECES = ("a", "b", ".", "[ab]", "[^a]", r"\b", r"\d", "^", "$", "é", "(a|bé)", "(?:ab)", "(?P<x>b|)", r"\x61", " ")
COUNTS = ("", "", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "+?", "*?")
PATTERNS = st.lists(
    st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(COUNTS)).map("".join), min_size=1, max_size=4).map(
        "".join
    ),
    min_size=1,
    max_size=3,
).map("|".join)
TEXTS = st.text(alphabet="aab é1\n", max_size=40)


def through(flow: Flow, pieces: Iterable[str]) -> str:
    """What leaves in all."""
    return "".join([*map(flow.feed, pieces), flow.end()])


def pieces_of(text: str, cuts: Iterable[int]) -> list[str]:
    """The text, cut at these places."""
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[a:b] for a, b in pairwise(places)]


@settings(max_examples=600, deadline=None)
@given(PATTERNS, TEXTS, st.lists(st.integers(0, 40), max_size=12), st.sampled_from([4, 7, 1000]))
def test_any_split_filters_like_the_whole(pattern: str, text: str, cuts: list[int], longest: int) -> None:
    """Also where a match is longer than what is held back: the place in the text decides, not the piece."""
    try:
        rule = linear(pattern)
    except PatternError:
        return
    whole = through(Flow(rule, lambda _: "#", longest), [text])
    assert through(Flow(rule, lambda _: "#", longest), pieces_of(text, cuts)) == whole
    assert through(Flow(rule, lambda _: "#", longest), list(text)) == whole
    assert through(Flow(rule, lambda m: m.group(), longest), list(text)) == text
    if longest > len(text):
        assert whole == _substituted(rule.match, text)


def _substituted(pattern: Any, text: str) -> str:
    """What searching the whole text at once would leave."""
    out, at = "", 0
    for found in pattern.finditer(text):
        if found.end() > found.start():
            out, at = out + text[at : found.start()] + "#", found.end()
    return out + text[at:]


def test_only_what_may_become_a_match_waits() -> None:
    """A reader of a stream must not wait for a pattern that nothing hints at."""
    flow = Flow(linear(r"\bsk-[a-z]{4,8}\b"), lambda _: "#")
    assert [flow.feed(piece) for piece in ("Hello ", "ask", " me: s", "k-ab", "cd", " ok")] == [
        "Hello ",
        "ask",
        " me: ",
        "",
        "",
        "# ok",
    ]


@pytest.mark.parametrize("pattern", ["(", "a*", "", r"(a)\1", "(?=a)b", "a{1001}", "\\"])
def test_a_pattern_that_cannot_be_used_is_refused_without_quoting_it(pattern: str) -> None:
    """Back-references and look-around have no linear search; what matches nothing matches everywhere."""
    with pytest.raises(PatternError) as refused:
        linear(pattern)
    assert str(refused.value)
    assert "a*" not in str(refused.value)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+b", "(.*)(.*)(.*)x$", "(x+x+)+y"])
def test_no_pattern_takes_more_than_linear_time(pattern: str) -> None:
    """What hangs a backtracking engine for years is searched as fast as anything else."""
    flow = Flow(linear(pattern), lambda _: "#")
    assert cpu_seconds(lambda: through(flow, ["a" * 50_000 + "x" * 50_000])) < 2
