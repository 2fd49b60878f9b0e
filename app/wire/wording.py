"""What a broken rule is called: in plain words, and in Zod's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.problems import Issue

PLAIN: Mapping[str, str] = {
    "required": "is required",
    "additionalProperties": "is not a known field",
    "type": "must be of type {0}",
    "enum": "must be one of {0}",
    "const": "must be {0}",
    "minimum": "must be at least {0}",
    "maximum": "must be at most {0}",
    "exclusiveMinimum": "must be more than {0}",
    "exclusiveMaximum": "must be less than {0}",
    "multipleOf": "must be a multiple of {0}",
    "minLength": "must have at least {0} character(s)",
    "maxLength": "must have at most {0} character(s)",
    "minItems": "must have at least {0} item(s)",
    "maxItems": "must have at most {0} item(s)",
    "minProperties": "must have at least {0} field(s)",
    "maxProperties": "must have at most {0} field(s)",
    "uniqueItems": "must not repeat an item",
    "propertyNames": "has a field whose name is not allowed",
    "pattern": "has a character or form that is not allowed",
    "format": "must be a valid {0}",
    "repeated": "must not be sent twice",
    "future": "must be to come",
}
ZOD: Mapping[str, str] = {
    "required": "Required",
    "type": "Expected {0}, received {1}",
    "enum": "Invalid enum value. Expected {0}",
    "minimum": "Number must be greater than or equal to {0}",
    "maximum": "Number must be less than or equal to {0}",
    "exclusiveMinimum": "Number must be greater than {0}",
    "exclusiveMaximum": "Number must be less than {0}",
    "multipleOf": "Number must be a multiple of {0}",
    "minLength": "String must contain at least {0} character(s)",
    "maxLength": "String must contain at most {0} character(s)",
    "minItems": "Array must contain at least {0} element(s)",
    "maxItems": "Array must contain at most {0} element(s)",
    "format": "Invalid {0}",
    "pattern": "Invalid",
}
# Zod knows one kind of number, and tells a fraction where an integer belongs a float.
ZOD_TYPES = {"integer": "number"}
FORMAT_NAMES = {"date-time": "datetime", "uri": "url"}


def plain(issue: Issue) -> str:
    """A predicate that reads after the field's name: "must be at most 100"."""
    if issue.expected in (["null"], None) and issue.rule in {"type", "const"}:
        return "is not offered here: leave it out"
    return PLAIN.get(issue.rule, "does not have one of the allowed forms").format(_told(issue.expected, " or "))


def zod(issue: Issue) -> str:
    """The sentence Zod 3 would write for the same failure."""
    if issue.rule == "additionalProperties":
        return f"Unrecognized key(s) in object: '{issue.path[-1]}'"
    if issue.rule == "enum":
        return ZOD["enum"].format(" | ".join(f"'{option}'" for option in issue.expected or ()))
    if issue.rule == "type":
        return ZOD["type"].format(*_zod_types(issue))
    expected = FORMAT_NAMES.get(str(issue.expected), _told(issue.expected, " or "))
    return ZOD.get(issue.rule, "Invalid input").format(expected)


def _zod_types(issue: Issue) -> tuple[str, str]:
    expected = _told(issue.expected, " | ")
    if (expected, issue.received) == ("integer", "number"):
        return "integer", "float"
    return ZOD_TYPES.get(expected, expected), ZOD_TYPES.get(issue.received, issue.received)


def dotted(path: tuple[Any, ...]) -> str:
    """A path as people write it: `items[3].email`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _told(expected: Any, joint: str) -> str:
    if isinstance(expected, (list, tuple)):
        return joint.join(str(option) for option in expected)
    return "" if expected is None else str(expected)


Wording = Callable[[Issue], str]
