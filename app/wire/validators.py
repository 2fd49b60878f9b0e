"""Compiled validators of parameters and bodies: every issue with its path, and no value repeated back."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

import jsonschema_rs
import orjson

from app.problems import Issue, Problem, invalid, malformed
from app.security.ssh_keys import is_public_key
from app.spec.operations import Operation, argument

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
ALTERNATIVES = frozenset({"oneOf", "anyOf"})
UNKNOWN_FIELDS = frozenset({"additionalProperties", "unevaluatedProperties"})
# A refusal must stay small whatever was sent: so many issues, and so much of a name the caller chose.
MOST_ISSUES = 100
MOST_FIELDS = 100
LONGEST_NAME = 100
EXACT = 2**53
FORM = "application/x-www-form-urlencoded"
PLACES = ("path", "query", "header")


# Formats of our own that the document names, beside those of JSON Schema.
FORMATS: dict[str, Callable[..., bool]] = {
    "ssh-public-key": is_public_key,
    # Text of any length that a database can keep: as a pattern it costs the readers of a document dearly.
    "text": lambda text: "\0" not in text,
}


def registry(document: Json) -> jsonschema_rs.Registry:
    """The document as one resource, so that each validator is a pointer into it and nothing is copied."""
    return jsonschema_rs.Registry([(BASE, {"components": document["components"], "paths": document["paths"]})])


def compiled(schema: Json, known: jsonschema_rs.Registry) -> jsonschema_rs.Validator:
    """A 2020-12 validator that resolves references in the document and matches patterns in linear time."""
    return jsonschema_rs.Draft202012Validator(
        _absolute(schema),
        registry=known,
        validate_formats=True,
        formats=FORMATS,
        pattern_options=jsonschema_rs.RegexOptions(),
    )


def _absolute(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: BASE + v if k == "$ref" and v.startswith("#") else _absolute(v) for k, v in node.items()}
    return [_absolute(item) for item in node] if isinstance(node, list) else node


def issues(validator: jsonschema_rs.Validator, instance: Any, start: tuple[str | int, ...] = ()) -> list[Issue]:
    """The ways the instance breaks the schema, in document order: the first hundred of them."""
    return list(
        islice((issue for error in validator.iter_errors(instance) for issue in _read(error, start)), MOST_ISSUES)
    )


def _read(error: jsonschema_rs.ValidationError, start: tuple[str | int, ...]) -> Iterator[Issue]:
    path = (*start, *(_shown(part) for part in error.instance_path))
    kind: Any = error.kind
    if kind.name == "required":
        yield Issue((*path, kind.property), "required")
    elif kind.name in UNKNOWN_FIELDS:
        yield from (Issue((*path, _shown(name)), "additionalProperties") for name in kind.unexpected)
    elif missing := _first_alternative(kind):
        yield Issue((*path, missing), "required")
    elif apt := _apt_alternative(error):
        yield from (issue for inner in apt for issue in _read(inner, start))
    else:
        yield Issue(path, kind.name, kind.value, JSON_TYPES.get(type(error.instance), ""))


def _first_alternative(kind: Any) -> str | None:
    """The field to name where one of several is required and none was sent: the first the document offers."""
    branches = getattr(kind, "context", None) if kind.name in ALTERNATIVES else None
    if not branches or not all(len(b) == 1 and b[0].kind.name == "required" for b in branches):
        return None
    return str(branches[0][0].kind.property)


def _apt_alternative(error: jsonschema_rs.ValidationError) -> list[jsonschema_rs.ValidationError]:
    """What is wrong by the one alternative that is of the value's type; nothing when none or several are."""
    kind: Any = error.kind
    depth = len(error.instance_path)
    branches = getattr(kind, "context", None) if kind.name in ALTERNATIVES else None
    apt = [b for b in branches or () if not any(e.kind.name == "type" and len(e.instance_path) == depth for e in b)]
    return apt[0] if len(apt) == 1 else []


def _shown(part: str | int) -> str | int:
    return part[:LONGEST_NAME] if isinstance(part, str) else part


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


def parse_form(raw: bytes) -> dict[str, str]:
    """The fields of a form (`application/x-www-form-urlencoded`), each sent once; one without a value was not sent."""
    try:
        fields = parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise malformed("The body is not a form of percent-encoded UTF-8") from None
    form = dict(fields)
    if len(form) < len(fields):
        times = Counter(name for name, _ in fields)
        raise invalid(*(Issue(("body", _shown(name)), "repeated") for name in form if times[name] > 1))
    return form


def integral(value: Any) -> Any:
    """The value with every whole float as an integer: `5.0` is an integer to JSON Schema, so handlers get one."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < EXACT else value
    if isinstance(value, dict):
        return {name: integral(member) for name, member in value.items()}
    return [integral(item) for item in value] if isinstance(value, list) else value


class Body:
    """What an operation reads as its body: media types and their compiled schema."""

    def __init__(self, operation: Operation, known: jsonschema_rs.Registry, *, strict: bool = True) -> None:
        declared = operation.raw["requestBody"]
        self._parse = (lambda raw: integral(parse_json(raw))) if strict else parse_json
        self.required = bool(declared.get("required", False))
        self.validators = {media: compiled(c["schema"], known) for media, c in declared["content"].items()}

    def media_type(self, content_type: str) -> str:
        """The media type without parameters, checked: 415 when the operation does not read it."""
        media = content_type.partition(";")[0].strip().lower() or next(iter(self.validators))
        if media not in self.validators:
            accepted = ", ".join(self.validators)
            raise Problem(415, f"Send the body as {accepted}, not {media[:80]}", headers={"accept": accepted})
        return media

    def read(self, raw: bytes, content_type: str) -> Any:
        """The validated value; None when an optional body was not sent."""
        if not raw and not self.required:
            return None
        media = self.media_type(content_type)
        validator = self.validators[media]
        try:
            value = parse_form(raw) if media == FORM else self._parse(raw)
            valid = validator.is_valid(value)
        except (RecursionError, ValueError):  # what a validator raises for a value nested beyond its stack
            raise malformed("The body is nested too deeply") from None
        if not valid:
            raise invalid(*issues(validator, value, ("body",)))
        return value


class Parameters:
    """What an operation reads from its path, query and headers: coercions, one schema, and defaults."""

    def __init__(self, operation: Operation, known: jsonschema_rs.Registry, *, strict: bool = True) -> None:
        self.strict = strict
        placed = {place: [p for p in operation.parameters if p["in"] == place] for place in PLACES}
        self.path, self.query = ({p["name"]: p["schema"] for p in placed[place]} for place in ("path", "query"))
        self.headers = {p["name"].lower(): (p["name"], p["schema"]) for p in placed["header"]}
        self.names = {p["name"]: argument(p["name"]) for p in operation.parameters}
        self.validator = compiled(_object(placed), known)
        self.defaults = {argument(p["name"]): p["schema"].get("default") for p in operation.parameters}
        self._optional = self.validator.is_valid({place: {} for place in PLACES})

    def read(self, path: Mapping[str, str], query: bytes, headers: Mapping[str, str]) -> Json:
        """Handler arguments by their Python name, coerced, with defaults; Problem with every issue otherwise."""
        if self._optional and not (path or query) and self.headers.keys().isdisjoint(headers):
            return self.defaults.copy()  # nothing was sent, and nothing had to be
        given = {
            "path": {n: _coerce(self.path[n], [v]) for n, v in path.items()},
            "query": self._read_query(query) if query else {},
            "header": {n: _coerce(schema, [headers[h]]) for h, (n, schema) in self.headers.items() if h in headers},
        }
        if not self.validator.is_valid(given):
            raise invalid(*issues(self.validator, given))
        return self.defaults | {
            self.names[n]: v for place in given.values() for n, v in place.items() if n in self.names
        }

    def _read_query(self, query: bytes) -> Json:
        sent: dict[str, list[str]] = {}
        try:
            for name, value in parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict"):
                sent.setdefault(name, []).append(value)
        except (UnicodeDecodeError, ValueError):
            raise Problem(400, "The query string is not valid percent-encoded UTF-8") from None
        known = {n: _coerce(self.query[n], v) for n, v in sent.items() if n in self.query}
        return known | ({n: "" for n in sent if n not in self.query} if self.strict else {})


def _object(placed: Mapping[str, Sequence[Json]]) -> Json:
    return {"type": "object", "properties": {place: _location(here) for place, here in placed.items()}}


def _location(here: Sequence[Json]) -> Json:
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
