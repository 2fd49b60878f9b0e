"""The linter: a clean document is clean, and each rule fires where it is broken, telling where and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from app.cli.spec import spec
from app.spec.lint import CHECKS, lint, rules

Json = dict[str, Any]
TEXT = {"type": "string", "maxLength": 9, "pattern": "^[^\\x00]*$", "description": "Text."}
NUMBER = {"type": "integer", "minimum": 0, "maximum": 9, "description": "A number."}


def _object(description: str) -> Json:
    return {
        "type": "object",
        "description": description,
        "additionalProperties": False,
        "properties": {"name": deepcopy(TEXT), "size": deepcopy(NUMBER)},
        "example": {"name": "a", "size": 1},
    }


def _answer(schema: str) -> Json:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": "It.", "content": {"application/json": {"schema": reference}}}


def _operation(id_: str, **more: Any) -> Json:
    said = {"operationId": id_, "tags": ["things"], "summary": "Do it", "description": "It is done."}
    return said | {"security": [{"key": ["admin"]}], "responses": {"200": _answer("Thing")}} | more


def _body(schema: str) -> Json:
    return {"required": True, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


ID = {"name": "id", "in": "path", "required": True, "description": "Its number.", "schema": NUMBER}


@pytest.fixture
def parts() -> Json:
    """The parts of a small document that breaks no rule, by file."""
    tag = {"name": "things", "x-dialect": "plain", "x-system": "things", "description": "Things."}
    root = {
        "openapi": "3.1.1",
        "x-dialects": {"plain": {"pages": "numbered", "schema": "Refusal", "headers": []}},
        "tags": [tag],
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }
    window = [
        {"name": name, "in": "query", "description": "Which.", "schema": deepcopy(NUMBER)} for name in ("page", "limit")
    ]
    paths = {
        "/things": {
            "get": _operation("list_things", parameters=window),
            "post": _operation("create_thing", requestBody=_body("ThingCreate")),
        },
        "/things/{id}": {
            "patch": _operation("update_thing", parameters=[deepcopy(ID)], requestBody=_body("ThingUpdate"))
        },
    }
    names = ("Thing", "ThingCreate", "ThingUpdate", "Refusal")
    return {"root.yaml": root, "paths/things.yaml": paths, "schemas/things.yaml": {n: _object(n) for n in names}}


def _write(parts: Json, folder: Path) -> Path:
    for name, content in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(content))
    return folder


Break = Callable[[Json, Json, Json], Any]
# Each breaks one rule: given the root, the paths and the schemas.
BREAKS: dict[str, Break] = {
    "operation-id": lambda _, p, __: p["/things"]["post"].update(operationId="make_the_thing"),
    "unique-id": lambda _, p, __: p["/things/{id}"]["patch"].update(operationId="create_thing"),
    "verb-fits-method": lambda _, p, __: p["/things"]["get"].update(operationId="delete_things"),
    "told": lambda _, p, __: p["/things"]["get"].pop("description"),
    "one-tag": lambda _, p, __: p["/things"]["get"].update(tags=["others"]),
    "explicit-security": lambda _, p, __: p["/things"]["get"].pop("security"),
    "no-default-response": lambda _, p, __: p["/things"]["get"]["responses"].update(default=_answer("Thing")),
    "success": lambda _, __, s: (
        s["Thing"]["properties"].update(inner={"type": "object", "description": "What."}) or s["Thing"].pop("example")
    ),
    "no-get-body": lambda _, p, __: p["/things"]["get"].update(requestBody=_body("ThingCreate")),
    "path-parameters": lambda _, p, __: p["/things/{id}"]["patch"].pop("parameters"),
    "one-shape": lambda _, p, __: p.update(
        {"/things/{no}": {"get": _operation("get_thing", parameters=[ID | {"name": "no"}])}}
    ),
    "parameter-type": lambda _, p, __: p["/things"]["get"]["parameters"][0]["schema"].update(type=["integer", "null"]),
    "pages": lambda _, p, __: p["/things"]["get"].pop("parameters"),
    "own-bodies": lambda _, p, __: p["/things/{id}"]["patch"].update(requestBody=_body("ThingCreate")),
    "known-extension": lambda _, p, __: p["/things"]["get"].update({"x-limits": "5/minute"}),
    "limit": lambda _, p, __: p["/things"]["get"].update({"x-limit": "five a minute"}),
    "typed": lambda _, __, s: s["Thing"]["properties"]["name"].update(nullable=True),
    "known-keyword": lambda _, __, s: s["Thing"]["properties"]["name"].update({"for people.": None}),
    "bounded-number": lambda _, __, s: s["Thing"]["properties"]["size"].pop("maximum"),
    "bounded-string": lambda _, __, s: s["Thing"]["properties"]["name"].pop("maxLength"),
    "bounded-array": lambda _, __, s: s["Thing"]["properties"].update(
        tags={"type": "array", "items": deepcopy(TEXT), "description": "Tags."}
    ),
    "closed-request": lambda _, __, s: s["ThingCreate"].pop("additionalProperties"),
    "no-nul": lambda _, __, s: s["ThingCreate"]["properties"]["name"].pop("pattern"),
    "no-ref-siblings": lambda _, __, s: s["Thing"]["properties"].update(
        other={"$ref": "#/components/schemas/Refusal", "description": "Another."}
    ),
    "used": lambda _, __, s: s.update(Spare=_object("Spare")),
}


def test_a_clean_document_has_no_findings(parts: Json, tmp_path: Path) -> None:
    """Otherwise the tests below would prove nothing."""
    assert lint(_write(parts, tmp_path)) == []


@pytest.mark.parametrize("rule", BREAKS)
def test_each_rule_fires_alone_where_it_is_broken(parts: Json, tmp_path: Path, rule: str) -> None:
    """One break, one rule, with the file, a pointer that leads to the place, and what to do."""
    BREAKS[rule](parts["root.yaml"], parts["paths/things.yaml"], parts["schemas/things.yaml"])
    found = [finding for finding in lint(_write(parts, tmp_path)) if finding.rule == rule]
    assert found
    for finding in found:
        node: Any = yaml.safe_load((tmp_path / finding.file).read_text())
        for part in finding.pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            node = node[int(key) if isinstance(node, list) else key]
        assert finding.do == rules()[rule]["do"]


def test_every_rule_is_enforced_told_and_tested() -> None:
    """The data under openapi/rules, the functions and these tests name the same rules."""
    assert rules().keys() == CHECKS.keys() == BREAKS.keys()
    assert all(rule.keys() == {"wants", "why", "do"} for rule in rules().values())


@pytest.mark.parametrize(
    "rule", sorted(BREAKS.keys() - {"told", "one-tag", "success", "unique-id", "verb-fits-method"})
)
def test_a_break_of_one_rule_is_not_reported_as_another(parts: Json, tmp_path: Path, rule: str) -> None:
    """A finding that comes with echoes hides what to do."""
    BREAKS[rule](parts["root.yaml"], parts["paths/things.yaml"], parts["schemas/things.yaml"])
    reported = {finding.rule for finding in lint(_write(parts, tmp_path))}
    assert reported - ECHOES.get(rule, set()) == {rule}


# Breaks that cannot be made without a second one.
ECHOES = {"no-get-body": {"no-nul"}, "own-bodies": {"used"}, "parameter-type": {"bounded-number"}}


def test_this_documents_parts_break_no_rule() -> None:
    """The rules are the law of the document that is served."""
    assert [str(finding) for finding in lint()] == []


def test_the_command_answers_in_json() -> None:
    """For editors and scripts; the exit code tells whether there is work."""
    result = CliRunner().invoke(spec, ["lint", "--json"])
    found = json.loads(result.stdout)
    assert result.exit_code == (1 if found else 0)
    assert all({"file", "pointer", "rule", "problem", "do"} == set(finding) for finding in found)
