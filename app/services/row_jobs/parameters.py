"""The parameters of a job: held to the schema the registry publishes, with its defaults filled in."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema_rs

from app.problems import invalid, malformed
from app.services import registry
from app.services.row_jobs.contract import Json
from app.wire.validators import integral, issues


def accepted(slug: str, params: Json) -> Json:
    """The parameters with every default; a Problem naming each field that breaks the published schema."""
    kind = registry.job_types()[slug]
    validator, given = _validator(slug), integral(params)
    try:
        wrong = issues(validator, given, ("body",))
    except (RecursionError, ValueError):  # what a validator raises for a value nested beyond its stack
        raise malformed("The parameters are nested too deeply") from None
    if wrong:
        raise invalid(*wrong)
    filled: Json = _filled({"properties": kind.params}, given)
    return filled


@cache
def _validator(slug: str) -> jsonschema_rs.Validator:
    kind = registry.job_types()[slug]
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"source_job_id": registry.SOURCE_JOB, **kind.params},
        "required": kind.required,
        **({"allOf": kind.rules} if kind.rules else {}),
    }
    return jsonschema_rs.Draft202012Validator(
        schema, validate_formats=True, pattern_options=jsonschema_rs.RegexOptions()
    )


def _filled(schema: Json, value: Any) -> Any:
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    parts = schema["properties"]
    defaults = {name: part["default"] for name, part in parts.items() if "default" in part}
    return defaults | {name: _filled(parts.get(name, {}), member) for name, member in value.items()}
