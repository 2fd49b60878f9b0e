"""The document read as operations: what each accepts, who may call it, and which path leads to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.spec.weave import dialect_of, operations

Json = dict[str, Any]
Requirement = Mapping[str, frozenset[str]]


class SpecError(Exception):
    """The document has a gap the server cannot start with."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the document. `security` lists alternatives; an empty one admits anybody."""

    id: str
    method: str
    path: str
    tag: str
    system: str
    dialect: str
    plane: str
    limit: str
    security: tuple[Requirement, ...]
    raw: Json = field(repr=False)
    parameters: tuple[Json, ...] = field(repr=False)

    @property
    def pointer(self) -> str:
        """The JSON pointer (RFC 6901) of this operation in the document."""
        return f"/paths/{self.path.replace('~', '~0').replace('/', '~1')}/{self.method}"

    @property
    def module(self) -> str:
        """The module that holds the handler."""
        return f"handlers.{self.system}.{self.tag}"


@dataclass(frozen=True, slots=True)
class Match:
    """The operations at a path, by upper-case method, and the decoded path parameters."""

    methods: Mapping[str, Operation]
    arguments: Mapping[str, str]


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    methods: dict[str, Operation] = field(default_factory=dict)


class Index:
    """All operations of a document, found by id or by path; static segments beat parameters."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self.by_id: dict[str, Operation] = {}
        self._static: dict[str, Match] = {}
        self._root = _Node()
        systems = {tag["name"]: tag.get("x-system", "") for tag in document["tags"]}
        for path, method, raw in operations(document):
            self._add(_operation(document, path, method, raw, systems))

    def _add(self, operation: Operation) -> None:
        if operation.id in self.by_id:
            raise SpecError(f"two operations are called {operation.id}")
        self.by_id[operation.id] = operation
        node = self._root
        for segment in operation.path.split("/")[1:]:
            node = _child(node, segment)
        node.methods[operation.method.upper()] = operation
        if "{" not in operation.path:
            self._static[operation.path] = Match(node.methods, {})

    def match(self, path: str) -> Match | None:
        """The operations at this (decoded) path, or None."""
        if found := self._static.get(path):
            return found
        values: list[str] = []
        node = _walk(self._root, path.split("/")[1:], 0, values)
        if node is None:
            return None
        template = next(iter(node.methods.values())).path
        names = [s[1:-1] for s in template.split("/") if s.startswith("{")]
        return Match(node.methods, dict(zip(names, values, strict=True)))

    def nearest(self, path: str) -> str:
        """The dialect of the documented path that shares the longest run of leading segments."""
        node, segments = self._root, path.split("/")[1:]
        for segment in segments:
            following = node.children.get(segment)
            if following is None:
                break
            node = following
        return _first(node).dialect


def _operation(document: Json, path: str, method: str, raw: Json, systems: Mapping[str, str]) -> Operation:
    for needed in ("operationId", "tags", "security", "responses"):
        if needed not in raw:
            raise SpecError(f"{method.upper()} {path} has no {needed}")
    tag = raw["tags"][0]
    dialect = dialect_of(document, raw)
    if dialect not in document["x-dialects"]:
        raise SpecError(f"{raw['operationId']} speaks {dialect}, which x-dialects does not define")
    return Operation(
        id=raw["operationId"],
        method=method,
        path=path,
        tag=tag,
        system=systems[tag],
        dialect=dialect,
        plane=raw.get("x-plane", "sync"),
        limit=raw.get("x-limit", ""),
        security=tuple({s: frozenset(roles) for s, roles in r.items()} for r in raw["security"]),
        raw=raw,
        parameters=tuple(_parameters(document, path, raw)),
    )


def _parameters(document: Json, path: str, raw: Json) -> list[Json]:
    shared = document["components"].get("parameters", {})
    listed = [*document["paths"][path].get("parameters", []), *raw.get("parameters", [])]
    return [shared[p["$ref"].rsplit("/", 1)[1]] if "$ref" in p else p for p in listed]


def _child(node: _Node, segment: str) -> _Node:
    if segment.startswith("{"):
        node.parameter = node.parameter or _Node()
        return node.parameter
    return node.children.setdefault(segment, _Node())


def _walk(node: _Node, segments: list[str], at: int, values: list[str]) -> _Node | None:
    if at == len(segments):
        return node if node.methods else None
    segment = segments[at]
    if (child := node.children.get(segment)) and (found := _walk(child, segments, at + 1, values)):
        return found
    if node.parameter is None or not segment:
        return None
    values.append(segment)
    if found := _walk(node.parameter, segments, at + 1, values):
        return found
    values.pop()
    return None


def _first(node: _Node) -> Operation:
    while not node.methods:
        node = next(iter(node.children.values()), None) or node.parameter or _Node()
    return next(iter(node.methods.values()))
