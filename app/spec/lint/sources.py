"""The parts as the linter sees them: every operation, parameter and schema with the place it is written at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.spec.join import read, yaml_under
from app.spec.weave import METHODS

Json = dict[str, Any]
SUBSCHEMA = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
SUBSCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems")
NAMED = ("properties", "patternProperties", "$defs", "dependentSchemas")


@dataclass(frozen=True, slots=True)
class Place:
    """A file under `openapi/` and a JSON pointer in it."""

    file: str
    pointer: str

    def at(self, *parts: str | int) -> Place:
        """A place below this one."""
        escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
        return Place(self.file, "/".join((self.pointer, *escaped)))


@dataclass(frozen=True, slots=True)
class Spoken:
    """An operation as it is written."""

    place: Place
    path: str
    method: str
    raw: Json = field(repr=False)
    shared: tuple[Json, ...] = field(repr=False, default=())

    @property
    def id(self) -> str:
        """Its operationId, or nothing."""
        return str(self.raw.get("operationId", ""))


class Sources:
    """All parts under a folder, before they are joined and woven."""

    def __init__(self, folder: Path) -> None:
        self.root = read(folder / "root.yaml")
        self.tags = {tag["name"]: tag for tag in self.root["tags"]}
        self._paths = _parts(folder, "paths")
        self._components = {"schemas": _parts(folder, "schemas")}
        self._components |= {kind: _parts(folder, f"shared/{kind}.yaml") for kind in ("parameters", "headers")}
        self.components = {
            kind: {name: (place.at(name), node) for place, content in parts for name, node in content.items()}
            for kind, parts in self._components.items()
        }

    def operations(self) -> Iterator[Spoken]:
        """Every operation of every part."""
        for place, content in self._paths:
            for path, item in content.items():
                shared = tuple(item.get("parameters", ()))
                for method in METHODS:
                    if method in item:
                        yield Spoken(place.at(path, method), path, method, item[method], shared)

    def nodes(self) -> Iterator[tuple[Place, Json]]:
        """Every mapping of every part, whatever it is."""
        yield from _mappings(Place("root.yaml", ""), self.root)
        for parts in (self._paths, *self._components.values()):
            for place, content in parts:
                yield from _mappings(place, content)

    def dialect(self, operation: Spoken) -> str:
        """The operation's dialect; empty when its tag is not declared."""
        tag = self.tags.get(next(iter(operation.raw.get("tags", [])), ""), {})
        return str(operation.raw.get("x-dialect") or tag.get("x-dialect", ""))

    def serves_several(self, operation: Spoken) -> bool:
        """Whether clients of several systems call it."""
        return any(self.tags.get(tag, {}).get("x-system") == "identity" for tag in operation.raw.get("tags", []))

    def followed(self, node: Json) -> Json:
        """What a reference leads to; an empty mapping when it leads nowhere."""
        while "$ref" in node:
            kind, name = node["$ref"].split("/")[-2:]
            node = self.components.get(kind, {}).get(name, (None, {}))[1]
        return node

    def parameters(self, operation: Spoken) -> Iterator[tuple[Place, Json]]:
        """The operation's parameters, references followed."""
        for number, parameter in enumerate([*operation.shared, *operation.raw.get("parameters", [])]):
            yield operation.place.at("parameters", number), self.followed(parameter)

    def schemas(self) -> Iterator[tuple[Place, Json]]:
        """Every schema, nested ones included, once: where it is written."""
        for place, node in self._roots():
            yield from nested(place, node)

    def request_schemas(self) -> Iterator[tuple[Spoken, Place, Json]]:
        """Every schema that a request body reaches, with an operation that reads it."""
        seen: set[tuple[Place, str]] = set()
        for operation in self.operations():
            for media, content in operation.raw.get("requestBody", {}).get("content", {}).items():
                start = operation.place.at("requestBody", "content", media, "schema")
                for place, node in self._reached(start, content.get("schema", {})):
                    key = (place, self.dialect(operation))
                    if key not in seen:
                        seen.add(key)
                        yield operation, place, node

    def _reached(self, place: Place, node: Json, within: frozenset[str] = frozenset()) -> Iterator[tuple[Place, Json]]:
        for where, schema in nested(place, node):
            yield where, schema
            name = str(schema.get("$ref", "")).rsplit("/", 1)[-1]
            if name and name not in within and name in self.components["schemas"]:
                yield from self._reached(*self.components["schemas"][name], within | {name})

    def _roots(self) -> Iterator[tuple[Place, Json]]:
        yield from self.components["schemas"].values()
        for kind in ("parameters", "headers"):
            yield from ((place.at("schema"), node.get("schema", {})) for place, node in self.components[kind].values())
        for operation in self.operations():
            for number, parameter in enumerate(operation.raw.get("parameters", [])):
                if "$ref" not in parameter:
                    yield operation.place.at("parameters", number, "schema"), parameter.get("schema", {})
            yield from _contents(operation.place.at("requestBody"), operation.raw.get("requestBody", {}))
            for status, response in operation.raw.get("responses", {}).items():
                yield from _contents(operation.place.at("responses", status), response)


def nested(place: Place, node: Any) -> Iterator[tuple[Place, Json]]:
    """A schema and the schemas written inside it."""
    if not isinstance(node, dict):
        return
    yield place, node
    for key in SUBSCHEMA:
        yield from nested(place.at(key), node.get(key))
    for key in SUBSCHEMAS:
        for number, part in enumerate(node.get(key, ())):
            yield from nested(place.at(key, number), part)
    for key in NAMED:
        for name, part in node.get(key, {}).items():
            yield from nested(place.at(key, name), part)


def _contents(place: Place, node: Json) -> Iterator[tuple[Place, Json]]:
    for media, content in node.get("content", {}).items():
        yield place.at("content", media, "schema"), content.get("schema", {})


def _mappings(place: Place, node: Any) -> Iterator[tuple[Place, Json]]:
    if isinstance(node, dict):
        yield place, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        if key not in {"example", "examples", "enum", "const", "default"}:
            yield from _mappings(place.at(key), child)


def _parts(folder: Path, name: str) -> list[tuple[Place, Json]]:
    start = folder / name
    files = [start] if start.is_file() else yaml_under(start)
    return [(Place(str(file.relative_to(folder)), ""), read(file)) for file in files]
