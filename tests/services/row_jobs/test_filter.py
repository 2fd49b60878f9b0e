"""Filter: every rule keeps what the registry says it keeps, and nothing is changed or moved on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.problems import Problem
from app.services import registry
from app.services.row_jobs.filter import RULES
from app.services.row_jobs.types import TYPES
from support.rows import ROWS, Json, ran
from support.timing import cpu_seconds

CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "require_phone": st.booleans(),
        "require_site": st.booleans(),
        "require_email": st.booleans(),
        "exclude_aggregators": st.booleans(),
        "alive_only": st.booleans(),
        "has_personal_email": st.booleans(),
        "rating_min": st.floats(0, 5),
        "reviews_min": st.integers(0, 20),
        "phone_prefix": st.just({"prefixes": ["06", "+33"]}),
        "email_domain": st.just({"exclude": ["gmail.com"], "reject_disposable": True}),
        "category": st.just({"column": "nom", "values": ["boulangerie"]}),
        "dedup_column": st.sampled_from(["nom", "email", "nowhere"]),
    },
)


def kept(rule: Json, *cells: Any, column: str) -> list[Any]:
    """The cells of a column that pass a rule."""
    return [row[column] for row in ran("filter", rule, [{column: cell} for cell in cells])]


def is_subsequence(part: list[Json], whole: list[Json]) -> bool:
    """Whether these very rows are in the whole, in that order."""
    remaining = iter(whole)
    return all(any(row is other for other in remaining) for row in part)


@settings(deadline=None)
@given(CONFIGS, ROWS)
def test_a_filter_keeps_a_part_in_order(config: Json, rows: list[Json]) -> None:
    """Whatever the rules: the same rows, unchanged, none twice, none moved."""
    before = [dict(row) for row in rows]
    assert is_subsequence(ran("filter", config, rows), rows)
    assert rows == before


@settings(deadline=None)
@given(CONFIGS, ROWS)
def test_filtering_again_changes_nothing(config: Json, rows: list[Json]) -> None:
    """What passed the rules passes them: no rule depends on rows that are gone."""
    once = ran("filter", config, rows)
    assert ran("filter", config, once) == once


@settings(deadline=None)
@given(ROWS, st.integers(1, 30), st.integers(0, 5))
def test_a_sample_has_the_size_asked_for(rows: list[Json], size: int, seed: int) -> None:
    """Never more than there are, always in order, and the same again for the same seed."""
    config = {"sample_type": "n", "sample_n": size, "sample_seed": seed}
    drawn = ran("filter", config, rows)
    assert len(drawn) == min(size, len(rows))
    assert is_subsequence(drawn, rows)
    assert drawn == ran("filter", config, rows)


def test_different_seeds_draw_different_samples() -> None:
    """A seed that changes nothing would be no seed."""
    rows = [{"n": i} for i in range(1000)]
    one, two = (ran("filter", {"sample_type": "n", "sample_n": 10, "sample_seed": seed}, rows) for seed in (1, 2))
    assert one != two


@pytest.mark.parametrize(("pct", "size"), [(0, 0), (10, 1), (50, 5), (55, 6), (100, 10)])
def test_a_percentage_is_rounded_to_the_nearest_row(pct: float, size: int) -> None:
    """Half a row counts as one."""
    rows = [{"n": i} for i in range(10)]
    assert len(ran("filter", {"sample_type": "pct", "sample_pct": pct}, rows)) == size


def test_no_rule_keeps_everything() -> None:
    """Every key is optional, and a rule that is off is no rule."""
    rows = [{"nom": "a"}, {}, {"email": None}]
    assert ran("filter", {}, rows) == rows
    assert ran("filter", {"require_email": False, "sample_type": ""}, rows) == rows


@pytest.mark.parametrize(
    ("rule", "column"), [("require_phone", "telephone"), ("require_site", "site_web"), ("require_email", "email")]
)
def test_a_required_column_must_hold_something(rule: str, column: str) -> None:
    """Spaces are nothing."""
    assert kept({rule: True}, "x", "", "  ", None, column=column) == ["x"]


def test_columns_are_found_by_their_other_names() -> None:
    """A sheet from elsewhere is filtered as well, keeps its own columns, and its owner is told."""
    rows = [{"Phone": "01"}, {"Phone": ""}, {"telephone": "02", "Phone": ""}]
    assert ran("filter", {"require_phone": True}, rows) == [rows[0], rows[2]]
    assert TYPES["filter"].prepare({"require_phone": True}, rows).notices == ('Column "Phone" was read as telephone.',)


def test_directories_are_not_sites_of_their_own() -> None:
    """Whatever the scheme, the subdomain and the case; a row without a site has none on a directory."""
    sites = ["https://www.facebook.com/acme", "pagesjaunes.fr/x", "HTTP://Acme.business.site", "https://acme.fr", ""]
    assert kept({"exclude_aggregators": True}, *sites, column="site_web") == ["https://acme.fr", ""]


def test_sites_found_closed_are_dropped() -> None:
    """Uncertain is not closed."""
    assert kept({"alive_only": True}, "open", "closed", "uncertain", None, column="site_alive") == [
        "open",
        "uncertain",
        None,
    ]


def test_a_personal_mailbox_is_no_role() -> None:
    """One personal address among several is enough."""
    cells = ["info@acme.fr", "contact@acme.fr, jean@acme.fr", "no-reply@acme.fr", "jean@acme.fr", "", None]
    assert kept({"has_personal_email": True}, *cells, column="email") == [cells[1], cells[3]]


@pytest.mark.parametrize("column", ["rating", "note"])
def test_ratings_are_compared_as_numbers(column: str) -> None:
    """Written with either decimal sign; what is no number has no rating."""
    assert kept({"rating_min": 4.5}, 4.5, "4,6", "4.4", 5, None, "good", True, column=column) == [4.5, "4,6", 5]


@pytest.mark.parametrize("column", ["reviews_count", "nb_avis"])
def test_review_counts_may_have_spaces_between_thousands(column: str) -> None:
    """As French sheets write them."""
    assert kept({"reviews_min": 1000}, "1 200", "1\u202f000", 999, column=column) == ["1 200", "1\u202f000"]


def test_a_minimum_of_zero_still_wants_a_number() -> None:
    """Zero is a rule, and not the absence of one."""
    assert kept({"rating_min": 0}, 0, None, column="rating") == [0]


def test_phone_prefixes_match_at_home_and_abroad() -> None:
    """A French mobile begins with 06 and with +33 6, however it is written."""
    cells = ["06 12 34 56 78", "+33612345678", "0033 6 12 34 56 78", "01 23 45 67 89", "+32 470 12 34 56", "n/a", ""]
    assert kept({"phone_prefix": {"prefixes": ["06"]}}, *cells, column="telephone") == cells[:3]
    assert kept({"phone_prefix": {"prefixes": ["+33"]}}, *cells, column="telephone") == cells[:4]
    unreadable = {"phone_prefix": {"prefixes": ["06"], "prefix_unparseable_keep": True}}
    assert kept(unreadable, *cells, column="telephone") == [*cells[:3], "n/a"]


def test_email_domains_are_included_excluded_or_thrown_away() -> None:
    """A domain is itself, not what ends like it."""
    cells = ["a@acme.fr", "b@ACME.fr", "c@not-acme.fr", "d@yopmail.com", ""]
    assert kept({"email_domain": {"include": ["acme.fr"]}}, *cells, column="email") == cells[:2]
    assert kept({"email_domain": {"exclude": ["@acme.fr"]}}, *cells, column="email") == cells[2:]
    assert kept({"email_domain": {"reject_disposable": True}}, *cells, column="email") == [*cells[:3], ""]


def test_categories_are_compared_without_case_and_spaces() -> None:
    """Also where a cell is a list."""
    config = {"category": {"column": "Métier", "values": ["Boulangerie  fine"]}}
    cells = ["boulangerie fine", ["Café", "BOULANGERIE FINE"], "Boulangerie", None]
    assert kept(config, *cells, column="metier") == cells[:2]


def test_the_first_row_of_each_value_stays() -> None:
    """Rows without the value are not copies of one another."""
    assert kept({"dedup_column": "nom"}, "A", " a", "B", "", "", column="nom") == ["A", "B", "", ""]


def test_every_published_rule_is_carried_out() -> None:
    """The registry promises no key that nothing reads."""
    sampling = {"sample_type", "sample_n", "sample_pct", "sample_seed"}
    assert set(registry.job_types()["filter"].params) == {*RULES, "dedup_column", *sampling}


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"rating_min": 6}, "rating_min"),
        ({"unknown": 1}, "unknown"),
        ({"sample_type": "n"}, "sample_n"),
        ({"phone_prefix": {"prefixes": []}}, "phone_prefix"),
        ({"category": {"values": ["x"]}}, "category"),
        ({"dedup_column": ["x"]}, "dedup_column"),
    ],
)
def test_what_the_schema_refuses_is_named(config: Json, field: str) -> None:
    """The caller learns which field of the configuration is wrong."""
    with pytest.raises(Problem) as refused:
        TYPES["filter"].prepare(config, [])
    assert {issue.path[1] for issue in refused.value.issues} == {field}


def test_a_filter_costs_nothing() -> None:
    """It asks nobody anything."""
    assert TYPES["filter"].prepare({"require_email": True}, [{}]).ef_cost == 0


def test_ten_thousand_rows_are_filtered_and_sorted_at_once() -> None:
    """A job of the largest size must not make anybody wait: well under two seconds on a busy machine."""
    rows = [
        {"nom": f"n{i % 997}", "telephone": f"06 {i:08d}", "email": f"p{i}@acme{i % 50}.fr", "rating": i % 50 / 10}
        for i in range(10_000)
    ]
    config = {"require_email": True, "rating_min": 1, "has_personal_email": True, "phone_prefix": {"prefixes": ["+33"]}}
    found: list[Json] = []
    assert cpu_seconds(lambda: found.extend(ran("sort", {"sort_by": "note"}, ran("filter", config, rows)))) < 4
    assert len(found) > 5_000
