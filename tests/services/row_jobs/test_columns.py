"""Columns: found by any of their names, and nothing a row holds is lost in renaming."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.row_jobs import columns
from support.rows import ROWS, Json

WANTED = st.sets(st.sampled_from(sorted(columns.TABLE)))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Website", "site_web"),
        ("url", "site_web"),
        ("e-mail", "email"),
        ("E-Mail ", "email"),
        ("name", "nom"),
        ("raison sociale", "nom"),
        ("Raison_Sociale", "nom"),
        ("Téléphone", "telephone"),
        ("tel.", "telephone"),
        ("note", "rating"),
        ("nb_avis", "reviews_count"),
        ("address", "adresse"),
        ("city", "ville"),
        ("ZIP", "code_postal"),
        ("postcode", "code_postal"),
        ("site_web", "site_web"),
        ("own", None),
        ("", None),
        ("日本", None),
    ],
)
def test_a_header_stands_for_a_column(header: str, name: str | None) -> None:
    """The documented aliases, whatever their case, accents and punctuation."""
    assert columns.canonical(header) == name


@settings(deadline=None)
@given(ROWS, WANTED)
def test_renaming_loses_nothing(rows: list[Json], wanted: set[str]) -> None:
    """Every value that is something stays in its row; rows keep their number and order."""
    before = [dict(row) for row in rows]
    found, notices = columns.resolve(rows, wanted)
    assert rows == before
    assert len(found) == len(rows)
    for old, new in zip(rows, found, strict=True):
        kept = [value for value in old.values() if not columns.blank(value)]
        assert sorted(map(repr, kept)) == sorted(repr(v) for v in new.values() if not columns.blank(v))
    assert all(notice.endswith(".") for notice in notices)


@settings(deadline=None)
@given(ROWS, WANTED)
def test_a_wanted_column_is_there_if_any_of_its_names_was(rows: list[Json], wanted: set[str]) -> None:
    """Afterwards one look under the canonical name is enough."""
    found, _ = columns.resolve(rows, wanted)
    for name in wanted:
        get = columns.getter(columns.seen(rows), name)
        assert [columns.blank(row.get(name)) for row in found] == [columns.blank(get(row)) for row in rows]


def test_a_column_under_its_own_name_keeps_its_value() -> None:
    """An alias beside it stays what it was; where it is blank the alias fills it."""
    rows = [{"website": "b.fr", "site_web": "a.fr"}, {"website": "b.fr", "site_web": ""}, {"url": "c", "website": "d"}]
    found, notices = columns.resolve(rows, {"site_web"})
    assert found == [{"website": "b.fr", "site_web": "a.fr"}, {"site_web": "b.fr"}, {"site_web": "c", "website": "d"}]
    assert notices == ('Column "website" was read as site_web.', 'Column "url" was read as site_web.')


def test_only_wanted_columns_are_renamed() -> None:
    """A type that does not read names leaves them alone."""
    rows = [{"name": "A", "url": "a.fr"}]
    assert columns.resolve(rows, {"site_web"})[0] == [{"name": "A", "site_web": "a.fr"}]


@pytest.mark.parametrize(
    ("value", "is_blank"),
    [(None, True), ("", True), (" \t\u00a0", True), ([], True), ({}, True), (0, False), (False, False), ("0", False)],
)
def test_zero_and_false_are_something(value: object, is_blank: bool) -> None:
    """Only nothing is blank."""
    assert columns.blank(value) is is_blank
