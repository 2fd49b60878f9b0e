"""Scopes: what a key was narrowed to holds, and nothing grows by being passed on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.security.scopes import EVERYTHING, covers, parse, text_of, within

GROUPS = ("auth", "gateway", "observe")
NAMES = ("*", *GROUPS, *(f"{group}:read" for group in GROUPS))
scope_sets = st.frozensets(st.sampled_from(NAMES), min_size=1)
operations = st.tuples(st.sampled_from(GROUPS), st.sampled_from(("get", "head", "post", "put", "delete")))


@given(scope_sets, scope_sets, operations)
def test_a_key_within_another_may_do_nothing_the_other_may_not(
    asked: frozenset[str], held: frozenset[str], operation: tuple[str, str]
) -> None:
    """This is what stops a narrow key from making a wide one."""
    if within(asked, held) and covers(asked, *operation):
        assert covers(held, *operation)


@given(scope_sets, scope_sets)
def test_a_key_is_only_refused_for_something_it_would_gain(asked: frozenset[str], held: frozenset[str]) -> None:
    """A refusal without a reason would drive people to `*`."""
    if not within(asked, held):
        everything = [(group, method) for group in (*GROUPS, "other") for method in ("get", "post")]
        assert any(covers(asked, *one) and not covers(held, *one) for one in everything)


@given(scope_sets)
def test_scopes_are_stored_as_they_are_meant(scopes: frozenset[str]) -> None:
    """What is read back admits the same; `*` swallows the rest."""
    read = parse(text_of(scopes))
    assert read == (EVERYTHING if "*" in scopes else scopes)


def test_reading_admits_reads_only() -> None:
    """HEAD is GET without its body; everything else changes something."""
    read = frozenset({"auth:read"})
    assert [m for m in ("get", "head", "post", "put", "patch", "delete") if covers(read, "auth", m)] == ["get", "head"]
    assert not covers(read, "authx", "get")
    assert not covers(frozenset({"auth"}), "gateway", "get")
