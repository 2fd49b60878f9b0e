"""The registry of job types: honest about what runs, and precise about what each type takes and gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.problems import Problem
from app.services import registry
from app.services.row_jobs.types import TYPES
from app.spec.join import join
from support.callers import Caller
from support.envelopes import Refusals

DOCUMENTED = """
scrap import filter sort verify_emails emails phones_extra socials techstack ads_intelligence brand_assets legal_ids
legal_mentions dead_check legal_data reviews delivery_check
"""
ADDED = "dedupe normalize merge ai_enrich http_fetch"
SLUGS = sorted(f"{DOCUMENTED} {ADDED}".split())
ENTRY = """
slug category label needs produces pipelinable is_on_demand coming_soon alpha_unavailable api_endpoint
"""
DETAIL = "description params_schema limits output_columns"
FLAGS = ("is_on_demand", "coming_soon", "alpha_unavailable")
WITHOUT_ROWS = {"scrap", "import", "delivery_check"}
PLANNED = {"merge", "ai_enrich"}
OWN_PARAMETERS: dict[str, dict[str, Any]] = {
    "dedupe": {"keys": ["email"]},
    "merge": {"keys": ["email"], "with_job_id": "j_01HXYZ99"},
    "ai_enrich": {"prompt": "Who owns {nom}?", "columns": [{"name": "owner"}]},
}
EVERY_TYPE = pytest.mark.parametrize("slug", SLUGS)


def kind(**changes: Any) -> registry.JobType:
    """A job type that differs from `emails` in what a test is about."""
    emails = registry.job_types()["emails"]
    return registry.JobType(**{name: getattr(emails, name) for name in emails.__slots__} | changes)


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every property, item and nested object of a schema; conditions between them left out."""
    if not isinstance(schema, dict):
        return
    yield schema
    for part in [*schema.get("properties", {}).values(), schema.get("items")]:
        yield from parts(part)


def accepts(slug: str, body: dict[str, Any]) -> bool:
    """Whether the published schema takes a body."""
    return jsonschema_rs.is_valid(registry.get_module(slug)["params_schema"], body)


def test_every_documented_job_type_is_listed_by_slug() -> None:
    """A client discovers all of them in one request, always in the same order."""
    assert [entry["slug"] for entry in registry.list_modules()] == SLUGS


@EVERY_TYPE
def test_an_entry_has_exactly_the_documented_fields(slug: str) -> None:
    """Clients read these fields by name."""
    [entry] = [entry for entry in registry.list_modules() if entry["slug"] == slug]
    assert set(entry) == set(ENTRY.split())
    assert set(registry.get_module(slug)) == set(f"{ENTRY} {DETAIL}".split())
    assert entry.items() <= registry.get_module(slug).items()


@EVERY_TYPE
def test_what_runs_is_announced_and_nothing_else(slug: str) -> None:
    """A type is active exactly when the server has it; of the others, those with an endpoint answer 503 there."""
    entry = registry.get_module(slug)
    flags = [flag for flag in FLAGS if entry[flag]]
    assert (flags == []) == (slug in TYPES)
    assert (entry["api_endpoint"] is None) == (flags == ["coming_soon"])
    assert slug in TYPES or flags == (["coming_soon"] if slug in PLANNED else ["alpha_unavailable"])


@pytest.mark.parametrize(
    ("status", "flags", "endpoint"),
    [
        ("active", [], "/api/jobs/emails"),
        ("alpha_unavailable", ["alpha_unavailable"], "/api/jobs/emails"),
        ("coming_soon", ["coming_soon"], None),
        ("on_demand", ["is_on_demand"], None),
    ],
)
def test_a_status_decides_the_flags_and_the_endpoint(status: str, flags: list[str], endpoint: str | None) -> None:
    """At most one flag is true, and only what the server answers has an endpoint."""
    entry = kind(status=status).entry()
    assert [flag for flag in FLAGS if entry[flag]] == flags
    assert entry["api_endpoint"] == endpoint


@pytest.mark.parametrize(("slug", "route"), [("scrap", "/api/jobs"), ("sort", ""), ("emails", "")])
def test_a_type_knows_where_it_will_be_served(slug: str, route: str) -> None:
    """Searches start at the jobs themselves, all others under their slug."""
    assert registry.job_types()[slug].route == route


@EVERY_TYPE
def test_labels_and_descriptions_are_in_both_languages(slug: str) -> None:
    """The screens exist in French and in English."""
    detail = registry.get_module(slug)
    assert set(detail["label"]) == set(detail["description"]) == {"fr", "en"}
    assert all(text.endswith(".") for text in detail["description"].values())
    assert detail["category"] in registry.CATEGORIES


@EVERY_TYPE
def test_columns_agree_with_the_parameters_and_the_output(slug: str) -> None:
    """What a type needs can be sent, and what it produces is in its output."""
    job = registry.job_types()[slug]
    assert set(job.needs) <= set(job.items or [])
    assert set(job.produces) <= set(job.output)
    assert set(job.required) <= set(job.params)


@EVERY_TYPE
def test_parameters_are_a_valid_closed_and_bounded_schema(slug: str) -> None:
    """A form can be built from it, and no body that passes it is without limits."""
    schema = registry.get_module(slug)["params_schema"]
    jsonschema_rs.meta.validate(schema)
    bounds = {"string": ({"maxLength"}, {"enum"}), "array": ({"maxItems"},), "object": ({"additionalProperties"},)}
    for part in parts(schema):
        types = part["type"] if isinstance(part["type"], list) else [part["type"]]
        assert all(any(choice <= part.keys() for choice in bounds.get(name, (set(),))) for name in types), part
    assert schema["additionalProperties"] is False
    assert all(text["description"].endswith((".", '"France".')) for text in schema["properties"].values())


@EVERY_TYPE
def test_defaults_satisfy_their_own_parameter(slug: str) -> None:
    """A form that is sent as it was opened must not be refused for it."""
    for part in parts(registry.get_module(slug)["params_schema"]):
        assert "default" not in part or jsonschema_rs.is_valid(part, part["default"])


@pytest.mark.parametrize("slug", [slug for slug in SLUGS if slug not in WITHOUT_ROWS])
def test_rows_come_in_the_body_or_from_a_job(slug: str) -> None:
    """A job over rows needs rows from somewhere; unknown columns are kept."""
    rest = OWN_PARAMETERS.get(slug, {})
    assert not accepts(slug, rest)
    assert accepts(slug, rest | {"source_job_id": "j_01HXYZ"})
    assert accepts(slug, rest | {"items": [{"site_web": "https://example.com", "email": "a@example.com", "own": [1]}]})
    assert not accepts(slug, rest | {"items": []})
    assert not accepts(slug, rest | {"source_job_id": "j_01HXYZ", "unknown": 1})
    assert registry.get_module(slug)["limits"]["max_items"] == 10_000


@pytest.mark.parametrize(
    ("slug", "good", "bad"),
    [
        ("scrap", {"queries": ["bakery"], "zones": ["75"]}, {"queries": ["bakery"]}),
        ("scrap", {"queries": ["x" * 200] * 20, "zones": ["France"] * 50}, {"queries": ["x"] * 21, "zones": ["75"]}),
        ("import", {"text": "nom;email"}, {}),
        ("import", {"source": "url", "url": "https://example.com/list.csv"}, {"source": "url", "text": "nom"}),
        ("import", {"source": "from_job", "from_job_id": "j_01HXYZ"}, {"source": "from_job"}),
        ("import", {"source": "paste", "text": "nom"}, {"source": "url", "url": "file:///etc/passwd"}),
        ("filter", {}, {"rating_min": 6}),
        ("filter", {"sample_type": "n", "sample_n": 5}, {"sample_type": "n"}),
        ("filter", {"sample_type": "pct", "sample_pct": 5}, {"sample_type": "pct"}),
        ("filter", {"phone_prefix": {"prefixes": ["06"]}}, {"phone_prefix": {"prefixes": []}}),
        ("sort", {"top_n": None, "sort_by": "ads_score"}, {"top_n": 0}),
        ("delivery_check", {"domain": "mail.example.com"}, {"domain": "Example.com"}),
        ("delivery_check", {"domain": "a.fr", "subject_filter": "x" * 120}, {"domain": "me@example.com"}),
        ("delivery_check", {"domain": "a-b.fr"}, {"domain": "localhost"}),
        ("emails", {"source_job_id": "j_01HXYZ", "mode": "deep"}, {"items": [{"site_web": "a.fr"}], "mode": "deep"}),
        ("emails", {"items": [{"site_web": "a.fr"}]}, {"items": [{"site_web": "a.fr"}] * 10_001}),
    ],
)
def test_parameters_keep_the_documented_rules(slug: str, good: dict[str, Any], bad: dict[str, Any]) -> None:
    """The published schema is the one the server will hold bodies to."""
    rows = {"source_job_id": "j_01HXYZ"} if slug in {"filter", "sort"} else {}
    assert accepts(slug, rows | good)
    assert not accepts(slug, rows | bad)


@EVERY_TYPE
def test_a_full_job_stays_below_the_cost_cap(slug: str) -> None:
    """The largest body a schema takes must not be one every server refuses for its cost."""
    limits = registry.get_module(slug)["limits"]
    assert (limits["max_items"] or 0) * limits["ef_per_unit"] <= limits["max_ef_per_job"]


def test_only_the_documented_types_run_in_the_parallel_lane() -> None:
    """A slow extraction must never keep a sort waiting."""
    documented = {slug for slug in DOCUMENTED.split() if registry.job_types()[slug].lane == "parallel"}
    assert documented == {"verify_emails", "delivery_check", "import", "filter", "sort"}


def test_an_unknown_slug_is_not_found() -> None:
    """A client that asks for a type that does not exist is told so."""
    with pytest.raises(Problem) as refused:
        registry.get_module("nosuchtype")
    assert refused.value.status == 404


@given(st.none() | st.sampled_from(registry.CATEGORIES), st.none() | st.booleans())
def test_filters_only_ever_narrow_the_list(category: str | None, pipelinable: bool | None) -> None:
    """A filtered list is the whole list without what does not match."""
    wanted = [
        entry
        for entry in registry.list_modules()
        if (category is None or entry["category"] == category)
        and (pipelinable is None or entry["pipelinable"] is pipelinable)
    ]
    assert registry.list_modules(category, pipelinable=pipelinable) == wanted


def test_the_registry_says_when_it_was_read() -> None:
    """Whole seconds and a Z, as every moment in this dialect."""
    told = registry.generated_at()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told)
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(told) < timedelta(hours=1)
    assert registry.generated_at() == told


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    """The registry's part of the document, joined anew, so that a stale bundle cannot hide a change."""
    joined = join()
    joined["paths"] = {path: item for path, item in joined["paths"].items() if path.startswith("/api/modules-registry")}
    return joined


def test_anybody_may_read_the_registry(anonymous: Caller) -> None:
    """A visitor sees what there is before signing up."""
    answer = anonymous.get("/api/modules-registry")
    assert answer.status_code == 200
    assert answer.json() == {"modules": registry.list_modules(), "generated_at": registry.generated_at()}


def test_the_list_is_filtered_by_query(anonymous: Caller) -> None:
    """Query parameters arrive at the service with their types."""
    answer = anonymous.get("/api/modules-registry", params={"category": "outreach", "pipelinable": "false"})
    assert [entry["slug"] for entry in answer.json()["modules"]] == ["delivery_check"]


def test_an_unknown_category_is_refused_with_its_field(anonymous: Caller, refused: Refusals) -> None:
    """A slip in a filter is an error, not an empty list."""
    body = refused(anonymous.get("/api/modules-registry", params={"category": "nosuch"}), 422)
    assert [error["field"] for error in body["errors"]] == ["category"]


def test_every_type_is_served_as_documented(anonymous: Caller, document: dict[str, Any]) -> None:
    """Each body is the service's, and fits the schema the document promises."""
    promised = {"$ref": "#/components/schemas/RegistryModuleDetail", "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(promised, validate_formats=True)
    answers = {slug: anonymous.get(f"/api/modules-registry/{slug}") for slug in SLUGS}
    assert {answer.status_code for answer in answers.values()} == {200}
    assert {slug: answer.json() for slug, answer in answers.items()} == {
        slug: registry.get_module(slug) for slug in SLUGS
    }
    assert [slug for slug, answer in answers.items() if not validator.is_valid(answer.json())] == []


def test_an_unknown_type_is_a_404_in_the_dialect(anonymous: Caller, refused: Refusals) -> None:
    """The refusal has this dialect's shape and says what is missing."""
    body = refused(anonymous.get("/api/modules-registry/nosuchtype"), 404)
    assert body == {"detail": "Module not found"}
