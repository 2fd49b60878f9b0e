"""Dedupe: one row of each kind, and always the promised one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.problems import Problem
from app.services.row_jobs.columns import seen
from app.services.row_jobs.dedupe import run
from app.services.row_jobs.types import TYPES
from support.rows import ROWS, Json, ran

KEEP = st.sampled_from(["first", "most_complete"])


@settings(deadline=None)
@given(ROWS.filter(seen), KEEP, st.data())
def test_deduplicating_again_changes_nothing(rows: list[Json], keep: str, data: st.DataObject) -> None:
    """What is left has no copies."""
    keys = data.draw(st.lists(st.sampled_from(seen(rows)), min_size=1, max_size=3, unique=True))
    once = ran("dedupe", {"keys": keys, "keep": keep}, rows)
    assert {id(row) for row in once} <= {id(row) for row in rows}
    assert list(run({"keys": keys, "keep": keep}, once)) == once


def test_the_first_row_of_a_kind_stays() -> None:
    """Whatever the case and spaces of the key; the others keep their order."""
    rows = [{"nom": "A ", "x": 1}, {"nom": "B"}, {"nom": " a", "x": 2}, {"nom": "b", "y": 3}]
    assert ran("dedupe", {"keys": ["nom"]}, rows) == rows[:2]


def test_the_fullest_row_of_a_kind_stays_where_the_first_was() -> None:
    """Of two equally full the first."""
    rows = [{"nom": "a", "x": ""}, {"nom": "b"}, {"nom": "A", "x": 2}, {"nom": "a", "x": 3}]
    assert ran("dedupe", {"keys": ["nom"], "keep": "most_complete"}, rows) == [rows[2], rows[1]]


def test_all_keys_must_agree() -> None:
    """A chain's shops share a name and not a town."""
    rows = [{"nom": "a", "ville": "x"}, {"nom": "a", "ville": "y"}, {"nom": "a", "ville": "X"}]
    assert ran("dedupe", {"keys": ["nom", "ville"]}, rows) == rows[:2]


def test_rows_without_any_key_are_nobodys_copies() -> None:
    """Not knowing an address is not sharing one; one key of two is enough to compare by."""
    rows: list[Json] = [{"email": ""}, {"email": None}, {}, {"email": "a@b.fr"}]
    assert ran("dedupe", {"keys": ["email"]}, rows) == rows
    half = [{"nom": "a", "email": ""}, {"nom": "a"}]
    assert ran("dedupe", {"keys": ["nom", "email"]}, half) == half[:1]


def test_a_key_is_found_by_its_other_names() -> None:
    """And its owner is told."""
    rows = [{"E-mail": "a@b.fr"}, {"E-mail": "A@b.fr"}]
    assert ran("dedupe", {"keys": ["email"]}, rows) == rows[:1]
    assert TYPES["dedupe"].prepare({"keys": ["email"]}, rows).notices == ('Column "E-mail" was read as email.',)


def test_a_key_no_row_has_is_refused() -> None:
    """It would make every row its own kind, silently."""
    with pytest.raises(Problem) as refused:
        TYPES["dedupe"].prepare({"keys": ["nom", "emial"]}, [{"nom": "a"}])
    assert [issue.path for issue in refused.value.issues] == [("body", "keys[1]")]


@pytest.mark.parametrize("params", [{}, {"keys": []}, {"keys": ["a", "a"]}, {"keys": ["a"], "keep": "last"}])
def test_what_the_schema_refuses_is_refused_here(params: Json) -> None:
    """Keys are required and different."""
    with pytest.raises(Problem):
        TYPES["dedupe"].prepare(params, [])
