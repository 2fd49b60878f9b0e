"""All job types: what the server that runs them may rely on, whichever it is."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from app.problems import Problem
from app.services.registry import job_types
from app.services.row_jobs.types import TYPES, JobType, Tools, UnitFailed
from support.rows import Json

ROWS: list[Json] = [
    {"Website": "http://127.0.0.1:1/", "E-mail": "Jean@Acme.fr", "Phone": "06 12 34 56 78", "own": {"k": [1]}},
    {"Website": "", "E-mail": "", "Phone": None},
    {"site_web": "b.fr", "email": "jean@acme.fr", "note": 4},
]
PARAMS: dict[str, Json] = {
    "dedupe": {"keys": ["email"]},
    "emails": {"mode": "deep", "source_job_id": "j_01HXYZ99"},
    "filter": {"require_phone": True, "phone_prefix": {"prefixes": ["06"]}},
    "import": {"source": "from_job", "from_job_id": "j_01HXYZ99"},
    "sort": {"sort_by": "email_quality"},
}
EVERY_TYPE = pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)


@EVERY_TYPE
def test_a_type_is_what_the_registry_publishes(kind: JobType) -> None:
    """Its lane, its unit, and a way to work."""
    published = job_types()[kind.slug]
    assert (kind.lane, kind.unit) == (published.lane, published.unit)
    assert kind.whole or kind.each
    assert kind.in_units({}) is (kind.whole is None)


@EVERY_TYPE
def test_preparing_changes_nothing_and_says_the_same_again(kind: JobType) -> None:
    """It runs for the estimate, at submit and for a re-run; what it kept can be prepared anew."""
    rows, params = deepcopy(ROWS), deepcopy(PARAMS.get(kind.slug, {}))
    prepared = kind.prepare(params, rows)
    assert (rows, params) == (ROWS, PARAMS.get(kind.slug, {}))
    assert kind.prepare(params, rows) == prepared
    again = kind.prepare(prepared.params, prepared.items)
    assert (again.items, again.params, again.ef_cost) == (prepared.items, prepared.params, prepared.ef_cost)
    assert again.ignored == 0


@EVERY_TYPE
def test_unknown_parameters_are_refused_by_name(kind: JobType) -> None:
    """A misspelt switch must not be a switch that is off."""
    with pytest.raises(Problem) as refused:
        kind.prepare(PARAMS.get(kind.slug, {}) | {"unknwon": 1}, [])
    assert ("body", "unknwon") in [issue.path for issue in refused.value.issues]


@EVERY_TYPE
def test_a_step_that_gets_no_rows_gives_none(kind: JobType) -> None:
    """An empty step of a pipeline is no failure."""
    prepared = kind.prepare(PARAMS.get(kind.slug, {}), [])
    assert (prepared.items, prepared.ignored, prepared.ef_cost) == ([], 0, 0)
    if kind.whole:
        assert list(kind.whole(prepared.params, [])) == []


@EVERY_TYPE
def test_every_output_has_the_published_columns(kind: JobType, run: Any) -> None:
    """Also when the site is away: what the registry says is produced is in every row."""
    prepared = kind.prepare(PARAMS.get(kind.slug, {}), ROWS)
    if kind.whole:
        outputs = list(kind.whole(prepared.params, prepared.items))
    else:
        outputs = [row for item in prepared.items[:1] for row in rows_of(kind, prepared.params, item, run.tools())]
    produced = set(job_types()[kind.slug].produces) if kind.slug != "import" else set()
    assert outputs
    assert all(produced <= row.keys() for row in outputs)


def rows_of(kind: JobType, params: Json, item: Json, tools: Tools) -> list[Json]:
    """The rows of a unit, of one that failed too."""
    assert kind.each is not None
    try:
        return list(kind.each(params, item, tools))
    except UnitFailed as failed:
        return list(failed.rows)


def test_costs_follow_the_documented_unit() -> None:
    """Ten thousand requests are one EF; what asks nobody anything is free."""
    rows = [{"site_web": f"s{i}.fr", "email": f"a@s{i}.fr"} for i in range(10_000)]
    costs = {slug: kind.prepare(PARAMS.get(slug, {}), rows).ef_cost for slug, kind in TYPES.items()}
    free = dict.fromkeys(["dedupe", "filter", "import", "normalize", "sort"], 0)
    asking = dict.fromkeys(["http_fetch", "socials", "techstack", "verify_emails"], 1)
    assert costs == free | asking | {"emails": 3}
