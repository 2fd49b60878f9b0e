"""Passages by themselves: documents in pieces, and the pieces a question is about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.modules.passages import LENGTH, Passages, split


@given(st.text(alphabet="ab \n", max_size=4000))
def test_a_document_is_cut_into_passages_and_loses_nothing(text: str) -> None:
    """Every word stands in one of them, in order; none is longer than it may be."""
    pieces = list(split(text))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= LENGTH for piece in pieces)


def test_a_large_index_answers_at_once() -> None:
    """A question costs a look at its words, and no walk through the documents."""
    known = Passages((f"d{n}", f"word{n} common lever{n % 7} " * 20) for n in range(800))
    assert [passage.source for passage in known.about("word77 please", 500)] == ["d77"]
    assert known.about("", 500) == known.about("the and of", 500) == []
