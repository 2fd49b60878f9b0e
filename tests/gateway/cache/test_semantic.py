"""Questions by meaning: the nearest one wins, within bounds, and never across what else was said."""

from __future__ import annotations

from array import array
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.cache.semantic import CANDIDATES, MOST_APART, Meanings, Question, cosine, unit

NUMBER = st.floats(-4, 4).map(lambda x: round(x, 2))
VECTOR = st.lists(NUMBER, min_size=3, max_size=3).filter(any)


def question(*numbers: float, apart: bytes = b"p") -> Question:
    """What was asked, among what else was said."""
    vector = unit({"data": [{"embedding": list(numbers)}]})
    assert vector is not None
    return Question(apart, vector)


@settings(max_examples=50, deadline=None)
@given(st.lists(VECTOR, max_size=CANDIDATES), VECTOR, st.floats(0.5, 1.0))
def test_the_nearest_question_is_found(before: list[list[float]], asked: list[float], threshold: float) -> None:
    """As a look at every one of them would find it."""
    meanings = Meanings(lambda: 0.0)
    for at, numbers in enumerate(before):
        meanings.add(question(*numbers), bytes([at]), 1.0, 100)
    best = max((cosine(question(*numbers).vector, question(*asked).vector) for numbers in before), default=-1.0)
    found = meanings.nearest(question(*asked), threshold)
    if found is None:
        assert best < threshold
    else:
        assert found[1] == pytest.approx(min(best, 1.0))
        assert best >= threshold - 2e-6


def test_among_many_the_nearest_is_found_by_its_signs() -> None:
    """Comparing a thousand vectors would hold up every other call."""
    drawn = [[byte - 127.5 for byte in sha256(bytes(at)).digest()] for at in range(MOST_APART)]
    meanings = Meanings(lambda: 0.0)
    for at, numbers in enumerate(drawn):
        meanings.add(question(*numbers), at.to_bytes(2), 1.0, 10_000)
    found = meanings.nearest(question(*(number + 20 for number in drawn[77])), 0.9)
    assert found is not None
    assert found[0] == (77).to_bytes(2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"p", b"q", b"r"]), st.integers(1, 4)), max_size=60), st.integers(1, 8))
def test_what_is_remembered_is_bounded(asked: list[tuple[bytes, int]], most: int) -> None:
    """In number and in bytes, and its account is that of what it holds."""
    meanings = Meanings(lambda: 0.0, most_bytes=40)
    for apart, size in asked:
        meanings.add(question(*[1.0] * size, apart=apart), b"k", 1.0, most)
        held = [one for some in meanings._held.values() for one in some]
        assert len(held) == meanings.entries <= most
        assert sum(4 * len(one.vector) for one in held) == meanings.bytes <= 40
    meanings.clear()
    assert (meanings.entries, meanings.bytes) == (0, 0)


def test_nothing_is_found_elsewhere_or_too_late_or_when_it_was_dropped() -> None:
    """Another model's, system prompt's or tenant's question is another one."""
    now = [0.0]
    meanings = Meanings(lambda: now[0])
    meanings.add(question(1, 0), b"k", 5.0, 10)
    assert meanings.nearest(question(1, 0), 0.92) == (b"k", 1.0)
    assert meanings.nearest(question(1, 0, apart=b"q"), 0.92) is None
    assert meanings.nearest(question(1, 0, 0), 0.92) is None
    now[0] = 5.0
    assert meanings.nearest(question(1, 0), 0.92) is None
    now[0] = 0.0
    meanings.drop(question(1, 0), b"k")
    assert (meanings.nearest(question(1, 0), 0.92), meanings.entries) == (None, 0)


@pytest.mark.parametrize("embedding", [[], [0, 0], ["x"], None, [1.7e308] * 3, [float("nan")], "AAAA"])
def test_what_is_no_vector_means_nothing(embedding: object) -> None:
    """A provider may answer anything."""
    assert unit({"data": [{"embedding": embedding}]}) is None
    assert unit({"data": []}) is None


def test_a_vector_has_length_one() -> None:
    """So that a product is a cosine."""
    assert unit({"data": [{"embedding": [3, 4]}]}) == array("f", [0.6, 0.8])
