"""Sort: a stable order by what is asked for, with blanks at the end whichever way it goes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.problems import Problem
from app.services.row_jobs.columns import blank, getter, seen
from app.services.row_jobs.sort import place
from app.services.row_jobs.types import TYPES
from support.rows import ROWS, Json, ran

DIRECTIONS = st.sampled_from(["asc", "desc"])


def sorted_cells(cells: list[Any], direction: str = "asc") -> list[Any]:
    """The cells of a column of one's own in order."""
    rows = [{"own": cell} for cell in cells]
    return [row["own"] for row in ran("sort", {"sort_by": "own", "direction": direction}, rows)]


@settings(deadline=None)
@given(ROWS, st.sampled_from(["completeness", "note", "nb_avis", "email_quality"]), DIRECTIONS)
def test_sorting_keeps_every_row(rows: list[Json], by: str, direction: str) -> None:
    """The same rows, unchanged, each once, in an order that sorting again keeps."""
    once = ran("sort", {"sort_by": by, "direction": direction}, rows)
    assert sorted(map(id, once)) == sorted(map(id, rows))
    assert ran("sort", {"sort_by": by, "direction": direction}, once) == once


@settings(deadline=None)
@given(ROWS.filter(lambda rows: any("nom" in row for row in rows)), DIRECTIONS)
def test_equals_keep_their_order_and_blanks_come_last(rows: list[Json], direction: str) -> None:
    """In both directions: only what differs is moved."""
    get = getter(seen(rows), "nom")
    tagged = [row | {"at": i} for i, row in enumerate(rows)]
    found = ran("sort", {"sort_by": "nom", "direction": direction}, tagged)
    assert [blank(get(row)) for row in found] == sorted(blank(get(row)) for row in found)
    for one, next_ in pairwise(found):
        here, there = place(get(one)), place(get(next_))
        if here == there:
            assert one["at"] < next_["at"]
        elif here is not None and there is not None:
            assert (here < there) == (direction == "asc")


@settings(deadline=None)
@given(ROWS, st.integers(1, 30))
def test_the_first_rows_are_the_first_of_the_whole_order(rows: list[Json], top: int) -> None:
    """min(n, top_n) of them."""
    assert ran("sort", {"top_n": top}, rows) == ran("sort", {}, rows)[:top]


def test_the_fullest_rows_come_first_unless_asked_otherwise() -> None:
    """Completeness, descending: the documented default."""
    rows = [{"a": 1}, {"a": 1, "b": 0, "c": False}, {"a": 1, "b": "", "c": None}, {"a": 1, "b": 2}]
    assert ran("sort", {}, rows) == [rows[1], rows[3], rows[0], rows[2]]
    assert ran("sort", {"direction": "asc"}, rows) == [rows[0], rows[2], rows[3], rows[1]]


def test_numbers_are_ordered_by_size_and_before_texts() -> None:
    """Whether they came as numbers or as text."""
    assert sorted_cells(["10", 9, "1 000", "-2,5", "abc", ""]) == ["-2,5", 9, "10", "1 000", "abc", ""]


def test_texts_are_ordered_without_case_and_accents() -> None:
    """As a person would look them up."""
    assert sorted_cells(["Zoé", "été", "Eta", None, "abbé"], "desc") == ["Zoé", "été", "Eta", "abbé", None]


@pytest.mark.parametrize(("by", "column"), [("note", "rating"), ("note", "note"), ("nb_avis", "reviews_count")])
def test_the_documented_names_read_what_a_search_writes(by: str, column: str) -> None:
    """`note` and `nb_avis` are `rating` and `reviews_count` in a search's rows."""
    rows = [{column: value} for value in (None, 1, 3, 2)]
    assert [row[column] for row in ran("sort", {"sort_by": by}, rows)] == [3, 2, 1, None]


def test_addresses_are_ordered_by_whom_they_reach() -> None:
    """A person at a company, a person anywhere, a function, a throw-away address, what is no address, nothing."""
    best = ["jean@acme.fr", "jean@gmail.com", "info@acme.fr", "x@yopmail.com", "none", ""]
    rows = [{"email": cell} for cell in reversed(best)]
    assert [row["email"] for row in ran("sort", {"sort_by": "email_quality"}, rows)] == best


def test_a_column_no_row_has_is_refused() -> None:
    """A misspelt name would otherwise sort nothing and say so to nobody; with no rows there is nothing to know."""
    with pytest.raises(Problem) as refused:
        TYPES["sort"].prepare({"sort_by": "ads_scor"}, [{"ads_score": 1}])
    assert [issue.path for issue in refused.value.issues] == [("body", "sort_by")]
    assert TYPES["sort"].prepare({"sort_by": "ads_scor"}, []).items == []


def test_a_column_of_an_earlier_step_can_be_sorted_by() -> None:
    """The documented example sorts by a score another type added."""
    assert sorted_cells([3, 1, 2]) == [1, 2, 3]


@pytest.mark.parametrize("config", [{"direction": "up"}, {"top_n": 0}, {"sort_by": ""}, {"sort_by": ["nom"]}])
def test_what_the_schema_refuses_is_refused_here(config: Json) -> None:
    """The published schema is the one that holds."""
    with pytest.raises(Problem):
        TYPES["sort"].prepare(config, [])
