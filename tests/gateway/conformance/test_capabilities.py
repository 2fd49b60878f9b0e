"""The table is complete: no provider, row or fixture stands outside it."""

from __future__ import annotations

import pytest

from app.gateway.providers import PROVIDERS
from app.gateway.wire import Kind
from tests.gateway.conformance.capabilities import FAMILIES, FIXTURES, ROW_KINDS, ROWS, UNABLE, case, rows_of


def test_every_provider_has_a_place_in_the_table() -> None:
    """A provider nobody wrote a row for is a provider nobody tests."""
    assert sorted(FAMILIES) == sorted(PROVIDERS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_row_of_a_provider_has_its_fixtures(name: str) -> None:
    """A row without what was asked and what must come of it proves nothing."""
    for row in rows_of(name, PROVIDERS[name].kinds):
        folder = case(name, row).folder
        assert (folder / "asked.json").exists(), folder
        assert (folder / "expected.json").exists(), folder


@pytest.mark.parametrize("name", ["anthropic", "gemini", "openai"])
def test_a_family_shows_every_row_or_says_why_not(name: str) -> None:
    """What is missing is missing on purpose."""
    for row in ROWS:
        shown = (FIXTURES / name / row).is_dir()
        assert shown != ((name, row) in UNABLE), row


@pytest.mark.parametrize("name", [name for name, held in PROVIDERS.items() if Kind.CHAT in held.kinds])
def test_every_chat_provider_shows_answers_both_ways(name: str) -> None:
    """The central promise needs a whole answer and a stream of it."""
    plain = [row for row in rows_of(name, PROVIDERS[name].kinds) if "choices" in case(name, row).expected]
    assert len(plain) > 15
    assert all(case(name, row).answer and case(name, row).stream for row in plain)


def test_no_fixture_lies_unused() -> None:
    """A fixture no row reaches is a test that silently stopped running."""
    reached = {case(name, row).folder for name, held in PROVIDERS.items() for row in rows_of(name, held.kinds)}
    lying = {path.parent for path in FIXTURES.rglob("asked.json")}
    assert lying == reached


def test_every_row_with_a_kind_of_its_own_is_a_row() -> None:
    """A misspelt row would be tested as chat."""
    assert set(ROW_KINDS) <= set(ROWS)
    assert {row for _, row in UNABLE} <= set(ROWS)
