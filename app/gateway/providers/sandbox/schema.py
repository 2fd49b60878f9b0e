"""Makes one example of what a JSON Schema describes, the same every time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.gateway.wire import Json

# Past the first, optional parts are left out, so that recursive schemas come to an end; past the second, they cannot.
_SHALLOW: Final = 4
_DEEPEST: Final = 24
_MOST_ITEMS: Final = 32
_MOST_STEPS: Final = 5_000
_MOST_CHARS: Final = 4096

_FORMATS: Final = {
    "date-time": "2024-01-31T12:00:00Z",
    "date": "2024-01-31",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uri-reference": "/example",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "json-pointer": "/example",
    "regex": "^example$",
}
_GUESSES: Final = (
    *_FORMATS.values(),
    "",
    "example",
    "example-1",
    "Example",
    "@example",
    "#a1b2c3",
    "+15550100123",
    "1.0.0",
    "1.00",
    "12:00",
    "AB-123",
    "ABC-1234",
    "en-US",
    "/",
    *(char * size for char in "a1A" for size in range(1, 41)),
)


class SchemaError(ValueError):
    """No example can be made of a schema."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the schema the making is: the whole schema, the property's name, the depth, the item's number.

    `steps` counts every value made, over all places: a small schema can describe more than memory holds.
    """

    root: Any
    steps: Iterator[int]
    name: str = "value"
    depth: int = 0
    turn: int = 0

    def below(self, name: str, turn: int = 0) -> _Place:
        return replace(self, name=name, depth=self.depth + 1, turn=turn)


def example(schema: Any) -> Any:
    """One value of the schema; SchemaError where it has none or the way to it leads outside or in circles.

    Built from types, bounds, formats, references and combinations; `not`, `if` and the like are not looked at.
    """
    try:
        return _make(schema, _Place(schema, count()))
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise SchemaError("the schema is malformed") from error


def valid_example(schema: Any) -> Any:
    """An example proven to be valid; SchemaError when none was found."""
    value = example(schema)
    if not _accepts(schema, value):
        raise SchemaError("no valid example of this schema was found")
    return value


def _accepts(schema: Any, value: Any) -> bool:
    """Whether a value is valid; references to other documents are never followed."""
    try:
        return jsonschema_rs.validator_for(schema, offline=True).is_valid(value)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise SchemaError("the schema is not valid") from error


def _make(schema: Any, place: _Place) -> Any:
    if place.depth > _DEEPEST or next(place.steps) > _MOST_STEPS:
        raise SchemaError("the schema has no end")
    if schema is True or schema == {}:
        return f"sample {place.name}"
    if not isinstance(schema, dict):
        raise SchemaError("the schema allows nothing")
    if "const" in schema:
        return schema["const"]
    if choices := schema.get("enum"):
        return choices[place.turn % len(choices)]
    if (plainer := _plainer(schema, place)) is not None:
        return _make(plainer, replace(place, depth=place.depth + 1))
    return _MAKERS[_type(schema)](schema, place)


def _plainer(schema: Json, place: _Place) -> Json | None:
    """The schema with one reference or combination worked into it; None when there is none left."""
    for name in ("$ref", "allOf", "anyOf", "oneOf"):
        if name in schema:
            others = {key: value for key, value in schema.items() if key != name}
            for part in _PARTS[name](schema[name], place):
                others = _both(others, part)
            return others
    return None


def _referred(ref: Any, place: _Place) -> list[Any]:
    """What a JSON pointer in the same document points to (RFC 6901)."""
    found = place.root
    if not isinstance(ref, str) or not ref.startswith("#"):
        raise SchemaError("a reference leads outside the schema")
    try:
        for step in filter(None, ref[1:].split("/")):
            key = step.replace("~1", "/").replace("~0", "~")
            found = found[int(key)] if isinstance(found, list) else found[key]
    except (LookupError, ValueError, TypeError) as error:
        raise SchemaError("a reference leads nowhere") from error
    return [found]


def _chosen(options: list[Any], place: _Place) -> list[Any]:
    """The first option that is not null; once deep, the null one or at least one that refers to nothing."""
    deep = place.depth >= _SHALLOW
    return sorted(options, key=lambda option: (_is_null(option) is not deep, deep and "$ref" in option))[:1]


def _is_null(option: Any) -> bool:
    return isinstance(option, dict) and option.get("type") == "null"


_PARTS: Final[dict[str, Callable[[Any, _Place], list[Any]]]] = {
    "$ref": _referred,
    "allOf": lambda parts, _: parts,
    "anyOf": _chosen,
    "oneOf": _chosen,
}


def _both(one: Json, other: Any) -> Json:
    """Two schemas as one: properties and required names joined, of the rest the second's word counts."""
    if other is True:
        return one
    if not isinstance(other, dict):
        raise SchemaError("the schema allows nothing")
    both = one | other
    if "properties" in one and "properties" in other:
        both["properties"] = one["properties"] | other["properties"]
    if "required" in one and "required" in other:
        both["required"] = [*one["required"], *other["required"]]
    return both


def _type(schema: Json) -> str:
    """The type to make: the first that is not null, or the one the other words speak of."""
    named = schema.get("type")
    if isinstance(named, list):
        named = next((name for name in named if name != "null"), "null")
    if named in _MAKERS:
        return str(named)
    if named is not None:
        raise SchemaError("the schema names no known type")
    return next((kind for word, kind in _WORDS.items() if word in schema), "string")


_WORDS: Final = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "minimum": "integer",
    "maximum": "integer",
    "multipleOf": "number",
}


def _object(schema: Json, place: _Place) -> Json:
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    wanted = dict.fromkeys([*(properties if place.depth < _SHALLOW else ()), *required])
    extra = schema.get("additionalProperties", True)
    return {name: _make(properties.get(name, extra), place.below(name)) for name in wanted}


def _array(schema: Json, place: _Place) -> list[Any]:
    first, rest = schema.get("prefixItems") or [], schema.get("items", True)
    fewest = schema.get("minItems", 0)
    size = max(fewest, len(first), 1 if place.depth < _SHALLOW and rest is not False else 0)
    size = min(size, schema.get("maxItems", size), _MOST_ITEMS)
    turns = range(size)
    return [_make(first[turn] if turn < len(first) else rest, place.below(place.name, turn)) for turn in turns]


def _string(schema: Json, place: _Place) -> str:
    plain = _FORMATS.get(schema.get("format", ""), f"sample {place.name}{place.turn or ''}")
    fewest = min(schema.get("minLength", 0), _MOST_CHARS)
    fitted = plain.ljust(fewest, "x")[: schema.get("maxLength", _MOST_CHARS)]
    if "pattern" not in schema:
        return fitted
    wanted = {"type": "string"} | {k: schema[k] for k in ("pattern", "minLength", "maxLength") if k in schema}
    return next((guess for guess in (fitted, *_GUESSES) if _accepts(wanted, guess)), fitted)


def _number(schema: Json, place: _Place, step: float = 0.5) -> float:
    """The least number allowed, else one as near as can be to the item's number plus one."""
    step = float(schema.get("multipleOf", step))
    low = max((schema[word] for word in ("minimum", "exclusiveMinimum") if word in schema), default=None)
    high = min((schema[word] for word in ("maximum", "exclusiveMaximum") if word in schema), default=None)
    start = low if low is not None else 1 if high is None else min(1, high)
    steps = math.ceil(start / step) + place.turn
    if steps * step == schema.get("exclusiveMinimum"):
        steps += 1
    elif steps * step == schema.get("exclusiveMaximum"):
        steps -= 1
    elif high is not None and steps * step > high:
        return float(start + high) / 2
    return float(steps * step)


def _integer(schema: Json, place: _Place) -> int:
    return int(_number(schema, place, step=1))


_MAKERS: Final[dict[str, Callable[[Json, _Place], Any]]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda _, __: True,
    "null": lambda _, __: None,
}
