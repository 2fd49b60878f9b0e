"""The written-out bodies of job types say what the registry says, for readers of either."""

from __future__ import annotations

from typing import Any

import pytest

from app.services import registry
from app.services.row_jobs.types import TYPES

Json = dict[str, Any]
NO_NUL = "^[^\\x00]*$"


def plain(schema: Any) -> Any:
    """A schema without what tells nothing of its values, or nothing that the registry could say."""
    if isinstance(schema, dict):
        kept = {name: plain(part) for name, part in schema.items() if name != "description" or isinstance(part, dict)}
        return {name: part for name, part in kept.items() if (name, part) != ("pattern", NO_NUL)}
    return [plain(part) for part in schema] if isinstance(schema, list) else schema


def written(document: Json, slug: str) -> Json:
    """The body of the type's own path."""
    operation = document["paths"][f"/api/jobs/{slug}"]["post"]
    name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    schema: Json = document["components"]["schemas"][name]
    return schema


@pytest.mark.parametrize("slug", sorted(TYPES))
def test_a_type_that_runs_has_its_fields_written_out(document: Json, slug: str) -> None:
    """Generated clients and forms built from the registry send the same bodies."""
    published = registry.get_module(slug)["params_schema"]
    schema = written(document, slug)
    assert schema["properties"].keys() == published["properties"].keys()
    params = registry.job_types()[slug].params
    assert {name: plain(schema["properties"][name]) for name in params} == plain(params)
    assert schema.get("required", []) == published.get("required", [])
    assert schema["additionalProperties"] is published["additionalProperties"] is False


def test_every_written_out_type_is_known(document: Json) -> None:
    """A path of its own promises a type the registry lists."""
    named = {path.rpartition("/")[2] for path in document["paths"] if path.startswith("/api/jobs/")}
    others = {"estimate", "resume", "queue", "{id}", "stream", "download", "cancel", "rerun", "items", "logs", "report"}
    assert named - others <= registry.job_types().keys()
    assert named - others >= TYPES.keys()
