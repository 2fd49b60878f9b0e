"""Config shapes: the short forms a module's settings are written in, and the JSON Schema each stands for.

A setting is a list: `[kind, default, description]`, or `[kind, description]` when it must be given. `object` and
`objects N` take their fields instead of a default: `[objects 100, description, {field: setting}]`. Whatever the form,
the schema it becomes is closed and bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

DURATION_PATTERN: Final = (
    r"^([0-9]{1,9}ms|[0-9]{1,7}(\.[0-9]{1,3})?s|[0-9]{1,6}(\.[0-9]{1,3})?m|[0-9]{1,5}(\.[0-9]{1,3})?h|[0-9]{1,4}d)$"
)
URL_PATTERN: Final = r"^(https?://[^\s]+)?$"
NETWORK_PATTERN: Final = r"^[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?$"
HEADER_PATTERN: Final = r"^[Xx]-[A-Za-z0-9-]{1,60}$"
HOURS_PATTERN: Final = r"^(([01][0-9]|2[0-3])-([01][0-9]|2[0-4]))?$"
# What may stand in a header: without control characters.
SHOWN_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"
STATUS_PATTERN: Final = r"^[45][0-9]{2}$"
# What can stand in a path, a model's name and a template's variable.
SLUG_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
# As the X-Project header takes it.
PROJECT_PATTERN: Final = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"
# The base64 of 24 to 64 bytes, whole.
SIGNING_PATTERN: Final = r"^whsec_([A-Za-z0-9+/]{4}){8,21}([A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?$"
# What the model calls' operations document as refusals.
REFUSALS: Final = (400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504)
MAX_SECONDS: Final = 864_000_000
MAX_MONEY: Final = 10_000_000
NESTED: Final = frozenset({"object", "objects"})


def _text(limit: str) -> Json:
    return {"type": "string", "maxLength": int(limit)}


def _name() -> Json:
    return _text("200")


def _regex() -> Json:
    return _text("1000") | {"format": "regex"}


def _number(span: str, kind: str = "number") -> Json:
    low, high = span.split("..")
    read = int if kind == "integer" else float
    return {"type": kind, "minimum": read(low), "maximum": read(high)}


def _choice(options: str) -> Json:
    return {"type": "string", "enum": options.split("|")}


def _many(limit: str, item: Json, **more: Any) -> Json:
    return {"type": "array", "maxItems": int(limit), "items": item} | more


def _map(limit: str, value: Json) -> Json:
    names = {"minLength": 1, "maxLength": 200}
    return {"type": "object", "maxProperties": int(limit), "propertyNames": names, "additionalProperties": value}


def _statuses(limit: str) -> Json:
    """For a provider's status one of ours, as a number or a text."""
    names = {"minLength": 3, "maxLength": 3, "pattern": STATUS_PATTERN}
    value = _number("400..599", "integer") | {"type": ["string", "integer"], "enum": [*REFUSALS, *map(str, REFUSALS)]}
    return _map(limit, value) | {"propertyNames": names}


def _shown(limit: str) -> Json:
    """For anything a name that is shown in its place."""
    return _map(limit, _name() | {"pattern": SHOWN_PATTERN})


def _mapped(limit: str, names: str) -> Json:
    """A map that has no other names than these."""
    return _map(limit, _text("2000")) | {"propertyNames": {"enum": names.split("|")}}


def _url() -> Json:
    return {"type": "string", "maxLength": 2048, "pattern": URL_PATTERN}


def _duration() -> Json:
    return {
        "type": ["string", "number"],
        "maxLength": 16,
        "pattern": DURATION_PATTERN,
        "minimum": 0,
        "maximum": MAX_SECONDS,
    }


SHAPES: Final[dict[str, Callable[..., Json]]] = {
    "flag": lambda: {"type": "boolean"},
    "int": lambda span: _number(span, "integer"),
    "number": _number,
    "money": lambda: _number(f"0..{MAX_MONEY}"),
    "duration": _duration,
    "text": _text,
    "name": _name,
    "regex": _regex,
    "url": _url,
    "hours": lambda: {"type": "string", "maxLength": 5, "pattern": HOURS_PATTERN},
    "header": lambda: {"type": "string", "maxLength": 62, "pattern": HEADER_PATTERN},
    "secret": lambda: _text("500") | {"writeOnly": True},
    "slug": lambda: {"type": "string", "maxLength": 64, "pattern": SLUG_PATTERN},
    "project": lambda: {"type": "string", "maxLength": 100, "pattern": PROJECT_PATTERN},
    "signing": lambda: {"type": "string", "maxLength": 100, "pattern": SIGNING_PATTERN, "writeOnly": True},
    "enum": _choice,
    "enums": lambda limit, options: _many(limit, _choice(options), uniqueItems=True),
    "names": lambda limit: _many(limit, _name()),
    "texts": lambda limit: _many(limit, _text("2000")),
    "regexes": lambda limit: _many(limit, _regex()),
    "urls": lambda limit: _many(limit, _url()),
    "networks": lambda limit: _many(limit, {"type": "string", "maxLength": 50, "pattern": NETWORK_PATTERN}),
    "numbers": lambda limit, span: _many(limit, _number(span)),
    "map": lambda limit: _map(limit, _text("2000")),
    "shown": _shown,
    "statuses": _statuses,
    "mapped": _mapped,
    "maps": lambda limit: _map(limit, _map("50", _name())),
    "objects": _many,
}


def object_schema(fields: dict[str, list[Any]]) -> Json:
    """The closed schema of an object whose settings are written in short form."""
    schema: Json = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _setting(form) for name, form in fields.items()},
    }
    required = [name for name, form in fields.items() if _is_required(form)]
    return schema | ({"required": required} if required else {})


def object_defaults(schema: Json) -> Json:
    """What an object holds when nothing is set: the default of every property that has one."""
    return {name: part["default"] for name, part in schema["properties"].items() if "default" in part}


def _is_required(form: list[Any]) -> bool:
    return len(form) == 2  # noqa: PLR2004  kind and description, no default


def _setting(form: list[Any]) -> Json:
    kind, *arguments = str(form[0]).split()
    if kind in NESTED:
        return _nested(kind, arguments, *form[1:])
    schema = SHAPES[kind](*arguments)
    if _is_required(form):
        filled = {"minLength": 1} if kind in {"name", "text", "regex", "secret"} else {}
        return schema | filled | {"description": form[1]}
    return schema | {"description": form[2], "default": form[1]}


def _nested(kind: str, arguments: list[str], description: str, fields: dict[str, list[Any]]) -> Json:
    inner = object_schema(fields)
    if kind == "object":
        return inner | {"description": description, "default": object_defaults(inner)}
    return SHAPES[kind](*arguments, inner) | {"description": description, "default": []}
