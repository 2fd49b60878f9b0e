"""What is said of a value that none of several schemas takes: what is wrong by the one of its own type."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from app.wire import wording
from app.wire.validators import issues

ANY = {
    "anyOf": [
        {"type": "string", "maxLength": 3},
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "required": ["name"]},
        {"type": "null"},
    ]
}
NOTHING = {"const": None}
EITHER = {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]}


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        (ANY, "long", [("field", "must have at most 3 character(s)")]),
        (ANY, ["a", 1], [("field[1]", "must be of type string")]),
        (ANY, {}, [("field.name", "is required")]),
        (ANY, 1, [("field", "does not have one of the allowed forms")]),
        (EITHER, "nowhere", [("field", "does not have one of the allowed forms")]),
        (NOTHING, 1, [("field", "is not offered here: leave it out")]),
    ],
)
def test_the_alternative_of_the_values_type_tells_what_is_wrong(
    schema: dict[str, Any], value: Any, said: list[tuple[str, str]]
) -> None:
    """`does not have one of the allowed forms` helps nobody who sent a text that is too long."""
    validator = jsonschema_rs.Draft202012Validator(
        {"type": "object", "properties": {"field": schema}}, validate_formats=True
    )
    found = issues(validator, {"field": value})
    assert [(wording.dotted(issue.path), wording.plain(issue)) for issue in found] == said
