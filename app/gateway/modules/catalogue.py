"""The catalogue of gateway modules: every module's name, place, settings and what it does for its user."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonschema_rs
import yaml

from app.gateway.modules import relations
from app.gateway.modules.shapes import (
    DURATION_PATTERN,
    HEADER_PATTERN,
    HOURS_PATTERN,
    MAX_SECONDS,
    NETWORK_PATTERN,
    PROJECT_PATTERN,
    SHOWN_PATTERN,
    SIGNING_PATTERN,
    SLUG_PATTERN,
    STATUS_PATTERN,
    URL_PATTERN,
    Json,
    object_schema,
)
from app.gateway.patterns import is_usable
from app.wire.validators import issues

if TYPE_CHECKING:
    from app.problems import Issue

DATA: Final = Path(__file__).parent / "data"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
UNIT: Final = re.compile(r"[a-z]+")
FORMS: Final = {
    DURATION_PATTERN: "duration such as 500ms, 30s, 5m, 1h or 7d",
    URL_PATTERN: "http or https URL",
    NETWORK_PATTERN: "IP address or CIDR range",
    HOURS_PATTERN: "span of hours such as 08-18",
    PROJECT_PATTERN: "name of visible ASCII characters",
    SLUG_PATTERN: "name of letters, digits, - and _",
    SHOWN_PATTERN: "name without control characters",
    STATUS_PATTERN: "status from 400 to 599",
    SIGNING_PATTERN: "secret: whsec_ and the base64 of 24 to 64 bytes",
    HEADER_PATTERN: "header name such as X-Predicted-Cost",
}


@dataclass(frozen=True, slots=True)
class ModuleEntry:
    """One module as data. `enabled` is its state on a fresh server; a `required` one cannot be switched off.

    `priority` orders lists of modules, lowest first. An entry that is not `implemented` is known and can be
    configured, but no call passes through it yet. `config_schema` is JSON Schema 2020-12, closed and bounded; a
    property marked `writeOnly` is a secret and must never be shown.
    """

    name: str
    category: str
    priority: int
    description: str
    config_schema: Json = field(repr=False)
    aliases: tuple[str, ...] = ()
    implemented: bool = False
    enabled: bool = False
    required: bool = False


class Catalogue(Mapping[str, ModuleEntry]):
    """Every module under its public name, by priority and then name; read from the data files on first use."""

    @cached_property
    def entries(self) -> dict[str, ModuleEntry]:
        """The entries themselves."""
        found = [entry for file in sorted(DATA.glob("*.yaml")) for entry in _read(file)]
        return {entry.name: entry for entry in sorted(found, key=lambda entry: (entry.priority, entry.name))}

    @cached_property
    def names(self) -> dict[str, str]:
        """The public name behind every name a module answers to."""
        return {name: entry.name for entry in self.entries.values() for name in (entry.name, *entry.aliases)}

    def __getitem__(self, name: str) -> ModuleEntry:
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


CATALOGUE: Final = Catalogue()


def canonical(name: str) -> str | None:
    """The public name of a module, given that name or an alias (`cache` is `cachelayer`); None when unknown."""
    return CATALOGUE.names.get(name)


def validate_config(name: str, config: Any, at: tuple[str | int, ...] = ()) -> list[Issue]:
    """What is wrong with a module's config, in the config's order; empty when nothing is.

    `at` is where the config stands in the request, such as `("body", "config")`. An issue says where and which rule
    was broken, never what was sent, which may be a secret. KeyError when no module has this name.
    """
    if found := [_worded(issue) for issue in issues(_validator(name), config, at)]:
        return found
    return relations.issues(name, complete_config(name, config), at)


def defaults(name: str) -> Json:
    """The config of a module nobody has configured, as a fresh copy. KeyError when no module has this name."""
    return complete_config(name, {})


def complete_config(name: str, config: Json) -> Json:
    """A valid config with every setting it leaves out at its default, inside nested objects and lists too."""
    return _completed(CATALOGUE[name].config_schema, config)


@lru_cache(maxsize=1024, typed=True)  # a handful of settings, read by every call; True is no 1 here
def parse_duration(value: str | float) -> float:
    """Seconds of a duration: `500ms`, `90s`, `1.5m`, `1h`, `7d`, or a plain number of seconds.

    ValueError for anything else, negative and non-finite numbers included.
    """
    if isinstance(value, str):
        unit = UNIT.search(value)
        if unit is None or re.fullmatch(DURATION_PATTERN[1:-1], value) is None:
            raise ValueError(f"not a {FORMS[DURATION_PATTERN]}")
        return float(value[: unit.start()]) * SECONDS[unit.group()]
    if isinstance(value, bool) or not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"must be between 0 and {MAX_SECONDS} seconds")
    return float(value)


def _read(file: Path) -> Iterator[ModuleEntry]:
    """The entries of one category's file."""
    modules = yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)
    for name, entry in modules.items():
        schema = {"$schema": DIALECT} | object_schema(entry.pop("config"))
        aliases = tuple(entry.pop("aliases", ()))
        yield ModuleEntry(name=name, category=file.stem, config_schema=schema, aliases=aliases, **entry)


@cache
def _validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """The compiled schema; user patterns are matched in linear time."""
    options = jsonschema_rs.RegexOptions()
    return jsonschema_rs.Draft202012Validator(
        CATALOGUE[name].config_schema, validate_formats=True, pattern_options=options, formats={"regex": is_usable}
    )


def _completed(schema: Json, given: Json) -> Json:
    """The object with defaults filled in, following the schema down."""
    parts = schema["properties"]
    filled = {name: deepcopy(part["default"]) for name, part in parts.items() if "default" in part}
    # A setting of an earlier release that the module no longer has must not stop a start.
    return filled | {name: _completed_value(parts[name], value) for name, value in given.items() if name in parts}


def _completed_value(schema: Json, value: Any) -> Any:
    if "properties" in schema:
        return _completed(schema, value)
    if "properties" in schema.get("items", {}):
        return [_completed(schema["items"], item) for item in value]
    return deepcopy(value)


def _worded(issue: Issue) -> Issue:
    """A form we know by name is said by that name: nobody should have to read a regular expression."""
    form = FORMS.get(issue.expected) if issue.rule == "pattern" else None
    return replace(issue, rule="format", expected=form) if form else issue
