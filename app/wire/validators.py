"""Compiled validators of parameters and bodies: every issue with its path, and no value repeated back."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import jsonschema_rs
import orjson

from app.problems import Issue, Problem, invalid, malformed
from app.spec.operations import Operation

Json = dict[str, Any]
BASE = "json-schema:///document"
INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})\Z")
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?\Z")
JSON_TYPES: Mapping[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}
UNKNOWN_FIELDS = frozenset({"additionalProperties", "unevaluatedProperties"})


def registry(document: Json) -> jsonschema_rs.Registry:
    """The document as one resource, so that each validator is a pointer into it and nothing is copied."""
    return jsonschema_rs.Registry([(BASE, {"components": document["components"], "paths": document["paths"]})])


def compiled(schema: Json, known: jsonschema_rs.Registry) -> jsonschema_rs.Validator:
    """A 2020-12 validator that resolves references in the document and matches patterns in linear time."""
    return jsonschema_rs.Draft202012Validator(
        _absolute(schema), registry=known, validate_formats=True, pattern_options=jsonschema_rs.RegexOptions()
    )


def _absolute(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: BASE + v if k == "$ref" and v.startswith("#") else _absolute(v) for k, v in node.items()}
    return [_absolute(item) for item in node] if isinstance(node, list) else node


def issues(validator: jsonschema_rs.Validator, instance: Any, start: tuple[str | int, ...] = ()) -> list[Issue]:
    """Every way the instance breaks the schema, in document order."""
    return [issue for error in validator.iter_errors(instance) for issue in _read(error, start)]


def _read(error: jsonschema_rs.ValidationError, start: tuple[str | int, ...]) -> list[Issue]:
    path = (*start, *error.instance_path)
    kind = error.kind
    if kind.name == "required":
        return [Issue((*path, kind.property), "required")]
    if kind.name in UNKNOWN_FIELDS:
        return [Issue((*path, name), "additionalProperties") for name in kind.unexpected]
    return [Issue(path, kind.name, kind.value, JSON_TYPES.get(type(error.instance), ""))]


def parse_json(raw: bytes) -> Any:
    """The value of a JSON text; a Problem that says where it breaks, never what it held."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise malformed(_why_not_json(raw, error)) from None


def _why_not_json(raw: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as bad:
        return f"The body is not valid UTF-8 (byte {bad.start})"
    return f"The body is not valid JSON (line {error.lineno}, column {error.colno})" if raw else "The body is empty"


class Body:
    """What an operation reads as its body: media types and their compiled schema."""

    def __init__(self, operation: Operation, known: jsonschema_rs.Registry) -> None:
        declared = operation.raw["requestBody"]
        self.required = bool(declared.get("required", False))
        self.validators = {media: compiled(c["schema"], known) for media, c in declared["content"].items()}

    def media_type(self, content_type: str) -> str:
        """The media type without parameters, checked: 415 when the operation does not read it."""
        media = content_type.partition(";")[0].strip().lower() or "application/json"
        if media not in self.validators:
            accepted = ", ".join(self.validators)
            raise Problem(415, f"Send the body as {accepted}, not {media[:80]}", headers={"accept": accepted})
        return media

    def read(self, raw: bytes, content_type: str) -> Any:
        """The validated value; None when an optional body was not sent."""
        if not raw and not self.required:
            return None
        media = self.media_type(content_type)
        value = parse_json(raw)
        validator = self.validators[media]
        if not validator.is_valid(value):
            raise invalid(*issues(validator, value, ("body",)))
        return value


class Parameters:
    """What an operation reads from its path, query and headers: coercions, one schema, and defaults."""

    def __init__(self, operation: Operation, known: jsonschema_rs.Registry, *, strict: bool = True) -> None:
        self.strict = strict
        self.query = {p["name"]: p for p in operation.parameters if p["in"] == "query"}
        self.path = {p["name"]: p for p in operation.parameters if p["in"] == "path"}
        self.headers = {p["name"].lower(): p for p in operation.parameters if p["in"] == "header"}
        self.validator = compiled(_object(operation.parameters), known)
        self.defaults = {
            p["name"].replace("-", "_").lower() if p["in"] == "header" else p["name"]: p["schema"].get("default")
            for p in operation.parameters
        }

    def read(self, path: Mapping[str, str], query: bytes, headers: Mapping[str, str]) -> Json:
        """Handler arguments by name, coerced, with defaults filled in; Problem with every issue otherwise."""
        given = {
            "path": {n: _coerce(self.path[n]["schema"], [v]) for n, v in path.items()},
            "query": self._read_query(query),
            "header": {p["name"]: headers[n] for n, p in self.headers.items() if n in headers},
        }
        if not self.validator.is_valid(given):
            raise invalid(*issues(self.validator, given))
        flat = given["path"] | given["query"] | {k.replace("-", "_").lower(): v for k, v in given["header"].items()}
        return self.defaults | flat

    def _read_query(self, query: bytes) -> Json:
        sent: dict[str, list[str]] = {}
        try:
            for name, value in parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict"):
                sent.setdefault(name, []).append(value)
        except (UnicodeDecodeError, ValueError):
            raise Problem(400, "The query string is not valid percent-encoded UTF-8") from None
        known = {n: _coerce(self.query[n]["schema"], v) for n, v in sent.items() if n in self.query}
        return known | ({n: "" for n in sent if n not in self.query} if self.strict else {})


def _object(parameters: Sequence[Json]) -> Json:
    return {
        "type": "object",
        "properties": {place: _location(parameters, place) for place in ("path", "query", "header")},
    }


def _location(parameters: Sequence[Json], place: str) -> Json:
    here = [p for p in parameters if p["in"] == place]
    return {
        "type": "object",
        "properties": {p["name"]: p["schema"] for p in here},
        "required": [p["name"] for p in here if p.get("required")],
        "additionalProperties": False,
    }


def _coerce(schema: Json, values: list[str]) -> Any:
    """The value the schema's type means; the string itself when it is none, for the validator to refuse."""
    if schema.get("type") == "array":
        parts = [part for value in values for part in value.split(",")]
        return [_scalar(schema.get("items", {}), part) for part in parts]
    return _scalar(schema, values[0]) if len(values) == 1 else values


def _scalar(schema: Json, value: str) -> Any:
    return COERCIONS.get(str(schema.get("type")), str)(value)


def _integer(value: str) -> int | str:
    return int(value) if INTEGER.match(value) else value


def _number(value: str) -> float | str:
    number = float(value) if NUMBER.match(value) and len(value) <= 40 else math.inf  # noqa: PLR2004
    return number if math.isfinite(number) else value


def _boolean(value: str) -> bool | str:
    return {"true": True, "false": False}.get(value, value)


COERCIONS: Mapping[str, Callable[[str], Any]] = {"integer": _integer, "number": _number, "boolean": _boolean}
