"""The answer cache by itself: bounded, in order of use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.cache.memory import AnswerCache, Kept
from app.gateway.wire import Usage

KEYS = st.binary(min_size=1, max_size=1)


def kept(expires: float = 1e9) -> Kept:
    """Something worth keeping."""
    return Kept({}, Usage(), 1, "openai", expires)


@given(st.lists(st.tuples(KEYS, st.integers(0, 300)), max_size=100), st.integers(1, 8))
def test_it_is_bounded_in_number_and_bytes(puts: list[tuple[bytes, int]], most: int) -> None:
    """Whatever is put in; and its account of bytes is that of what it holds."""
    cache = AnswerCache(lambda: 0.0, most_bytes=3200)
    for key, size in puts:
        cache.put(key, b"x" * size, kept(), most)
        assert len(cache._held) <= most
        assert cache._bytes == sum(len(raw) for raw, _ in cache._held.values()) <= 3200


def test_what_was_used_longest_ago_goes_first() -> None:
    """A popular answer stays."""
    cache = AnswerCache(lambda: 0.0)
    for key in (b"a", b"b"):
        cache.put(key, b"", kept(), 2)
    assert cache.get(b"a")
    cache.put(b"c", b"", kept(), 2)
    assert [key for key in (b"a", b"b", b"c") if cache.get(key)] == [b"a", b"c"]


def test_one_huge_answer_does_not_push_out_the_rest() -> None:
    """What would take more than a sixteenth of the room is not kept."""
    cache = AnswerCache(lambda: 0.0, most_bytes=1600)
    cache.put(b"a", b"x", kept(), 10)
    cache.put(b"b", b"x" * 101, kept(), 10)
    assert (bool(cache.get(b"a")), cache.get(b"b")) == (True, None)


def test_what_is_old_is_gone() -> None:
    """And takes no room."""
    cache = AnswerCache(lambda: 5.0)
    cache.put(b"a", b"xyz", kept(expires=5.0), 10)
    assert (cache.get(b"a"), cache._bytes) == (None, 0)
