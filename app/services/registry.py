"""The registry of job types: what each takes, adds and costs, and whether it can be run yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from app.problems import not_found

Json = dict[str, Any]

DATA: Final = Path(__file__).parent / "registry_data"
CATEGORIES: Final = ("sources", "enrich", "signals", "outreach", "tools")
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MAX_ITEMS: Final = 10_000
MAX_EF_PER_JOB: Final = 1.0
MAX_CONCURRENT_JOBS: Final = 5
RESULT_RETENTION_DAYS: Final = 7
FLAGS: Final = {"on_demand": "is_on_demand", "coming_soon": "coming_soon", "alpha_unavailable": "alpha_unavailable"}
SERVED: Final = frozenset({"active", "alpha_unavailable"})
SOURCE_JOB: Final[Json] = {
    "description": "A finished job of yours whose rows are the input.",
    "type": "string",
    "minLength": 8,
    "maxLength": 64,
}


@dataclass(frozen=True, slots=True)
class JobType:
    """One job type as data. `status` is active, alpha_unavailable, coming_soon or on_demand.

    `needs` and `produces` are column names; `items` the columns a row may carry, None when the job takes no rows.
    `ef_per_unit` is its extraction cost for one `unit` of work. `rules` are the conditions between its `params`.
    """

    slug: str
    category: str
    status: str
    label: Json
    description: Json
    needs: list[str]
    produces: list[str]
    pipelinable: bool
    lane: str
    unit: str
    ef_per_unit: float
    output: dict[str, list[str]]
    route: str = ""
    items: list[str] | None = None
    params: Json = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    rules: list[Json] = field(default_factory=list)

    def entry(self) -> Json:
        """The registry's entry: at most one flag is true, and only a served type has an endpoint."""
        flags = {flag: self.status == status for status, flag in FLAGS.items()}
        endpoint = (self.route or f"/api/jobs/{self.slug}") if self.status in SERVED else None
        told = {key: getattr(self, key) for key in ("slug", "category", "label", "needs", "produces", "pipelinable")}
        return told | flags | {"api_endpoint": endpoint}

    def detail(self) -> Json:
        """The entry, and all that is needed to write a request for it and to read its result."""
        return self.entry() | {
            "description": self.description,
            "params_schema": self.params_schema(),
            "limits": self.limits(),
            "output_columns": [_column(name, *told) for name, told in self.output.items()],
        }

    def limits(self) -> Json:
        """What one job of this type may take; `max_items` is null when it takes no rows."""
        return {
            "lane": self.lane,
            "unit": self.unit,
            "max_items": None if self.items is None else MAX_ITEMS,
            "ef_per_unit": self.ef_per_unit,
            "max_ef_per_job": MAX_EF_PER_JOB,
            "max_concurrent_jobs": MAX_CONCURRENT_JOBS,
            "result_retention_days": RESULT_RETENTION_DAYS,
        }

    def params_schema(self) -> Json:
        """JSON Schema 2020-12 of the body that creates such a job: its parameters and, if it takes any, its rows."""
        takes_rows = self.items is not None
        rows = {"items": _rows(self.items or []), "source_job_id": SOURCE_JOB} if takes_rows else {}
        either = {"anyOf": [{"required": ["items"]}, {"required": ["source_job_id"]}]} if takes_rows else {}
        return {
            "$schema": DIALECT,
            "title": self.slug,
            "type": "object",
            "additionalProperties": False,
            "properties": rows | self.params,
            **({"required": self.required} if self.required else {}),
            **({"allOf": self.rules} if self.rules else {}),
            **either,
        }


@cache
def job_types() -> dict[str, JobType]:
    """Every job type by slug, in order of the slugs."""
    found = {slug: kind for category in CATEGORIES for slug, kind in _read(category)}
    return dict(sorted(found.items()))


@cache
def generated_at() -> str:
    """When this process read the registry, in RFC 3339, UTC; it stays, so that a copy can be revalidated."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def list_modules(category: str | None = None, *, pipelinable: bool | None = None) -> list[Json]:
    """The entries of a category or of all, those that fit into pipelines or not, by slug."""
    return [
        kind.entry()
        for kind in job_types().values()
        if category in (None, kind.category) and pipelinable in (None, kind.pipelinable)
    ]


def get_module(slug: str) -> Json:
    """All there is to know of one job type; a 404 Problem when there is none of this slug."""
    kind = job_types().get(slug)
    if kind is None:
        raise not_found("Module")
    return kind.detail()


def _read(category: str) -> list[tuple[str, JobType]]:
    entries = _load(category)
    return [(slug, JobType(slug=slug, category=category, **entry)) for slug, entry in entries.items()]


@cache
def _columns() -> Json:
    return _load("columns")


def _load(name: str) -> Json:
    loaded: Json = yaml.load((DATA / f"{name}.yaml").read_bytes(), Loader=yaml.CSafeLoader)
    return loaded


def _rows(columns: list[str]) -> Json:
    """Rows of any shape that name these columns; what else they carry is kept."""
    cell = {"type": ["string", "number", "null"], "maxLength": 2000}
    row = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 200,
        "properties": {name: cell | {"description": _columns()[name]} for name in columns},
        "additionalProperties": True,
    }
    text = "The rows to work on; a row without a needed column is left out and counted."
    return {"description": text, "type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": row}


def _column(name: str, kind: str, description: str) -> Json:
    return {
        "name": name,
        "type": kind.removesuffix("?"),
        "nullable": kind.endswith("?"),
        "description": description,
    }
