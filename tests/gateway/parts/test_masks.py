"""Masks by themselves: invented values that are told apart, look right and find their way back."""

from __future__ import annotations

import json
import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.flow import Flow
from app.gateway.masks import CARD, EMAIL, FIRST, LAST, NAME, PHONE, SHAPES, Masks
from app.gateway.modules.promptguard import is_card
from app.gateway.patterns import linear
from app.gateway.restoring import restorer


def test_an_answer_in_json_quotes_what_comes_back() -> None:
    """A value that stands in arguments is written as JSON writes it."""
    masks = Masks("0", lambda _: False)
    masks.mask(NAME, 'Bo"b')
    [mask] = masks.back
    call = {"index": 0, "function": {"name": "f", "arguments": json.dumps({"who": mask})}}
    body = {"choices": [{"index": 0, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    said = restorer(masks.back).whole(body)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(said) == {"who": 'Bo"b'}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([NAME, EMAIL, PHONE, CARD]), st.text(alphabet="abc @1", min_size=1, max_size=8)),
        max_size=120,
    ),
    st.lists(st.integers(0, 80), max_size=8),
)
def test_masks_are_told_apart_and_come_back_from_any_pieces(values: list[tuple[str, str]], cuts: list[int]) -> None:
    """However many people there are, and wherever a stream is cut."""
    masks = Masks("seed", lambda mask: mask == FIRST[0])
    for kind, value in values:
        if value.strip():
            masks.mask(kind, value)
    assert len(set(masks.back)) == len(masks.back)
    assert FIRST[0] not in masks.back
    pattern = linear(SHAPES)
    for mask in masks.back:
        assert pattern.match.fullmatch(mask) or mask.startswith("[NAME_REDACTED_")
    text = " ".join(list(masks.back)[:6])
    flow = Flow(pattern, lambda found: f"<{found.group()}>")
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(ends)]
    whole = Flow(pattern, lambda found: f"<{found.group()}>")
    assert "".join([*map(flow.feed, pieces), flow.end()]) == whole.feed(text) + whole.end()


def test_masks_look_like_what_they_stand_for() -> None:
    """What reads a card's number or a phone's in the prompt can go on doing so; nobody owns them."""
    masks = Masks("seed", lambda _: False)
    assert is_card(re.fullmatch(r"[0-9 ]+", masks.mask(CARD, "4111 1111 1111 1111")))
    assert re.fullmatch(r"[2-9]\d\d-555-01\d\d", masks.mask(PHONE, "555-123-4567"))
    assert masks.mask(EMAIL, "a@b.example").endswith("@mail.example")
    first, last = masks.mask(NAME, "Ada Lovelace").split()
    assert (first in FIRST, last in LAST) == (True, True)
    assert not {*FIRST} & {*LAST}
