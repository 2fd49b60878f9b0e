"""The document read as operations: what each accepts, who may call it, and which path leads to it."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from app.spec.weave import dialect_of, operations

Json = dict[str, Any]
Requirement = Mapping[str, frozenset[str]]


class SpecError(Exception):
    """The document has a gap the server cannot start with."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the document. `security` lists alternatives; an empty one admits anybody.

    `asked` holds, by security scheme, the sets of roles of which a credential needs one; an empty set asks for none.
    """

    id: str
    method: str
    path: str
    tag: str
    system: str
    dialect: str
    plane: str
    limit: str
    security: tuple[Requirement, ...]
    module: str
    raw: Json = field(repr=False)
    parameters: tuple[Json, ...] = field(repr=False)
    asked: Mapping[str, tuple[frozenset[str], ...]] = field(default_factory=dict, repr=False)
    schemes: frozenset[str] = frozenset()

    @property
    def pointer(self) -> str:
        """The JSON pointer (RFC 6901) of this operation in the document."""
        return f"/paths/{self.path.replace('~', '~0').replace('/', '~1')}/{self.method}"

    @property
    def scope(self) -> str:
        """The group of operations a key must be good for; an operation shared by systems names it in `x-scope`."""
        return str(self.raw.get("x-scope", self.tag))


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

    def __init__(self, document: Json, handlers: str = "handlers") -> None:
        self.document = document
        self.by_id: dict[str, Operation] = {}
        self._static: dict[str, Match] = {}
        self._root = _Node()
        systems = {tag["name"]: tag["x-system"] for tag in document["tags"]}
        for path, method, raw in operations(document):
            self._add(_operation(document, path, method, raw, systems, handlers))

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
        """The operations at this path, still percent-encoded, with decoded arguments; None when there are none."""
        if found := self._static.get(path):
            return found
        try:
            segments = _decoded(path, "strict")
        except UnicodeDecodeError:  # no path here has such a name
            return None
        values: list[str] = []
        node = _walk(self._root, segments, 0, values)
        if node is None:
            return None
        template = next(iter(node.methods.values())).path
        names = [s[1:-1] for s in template.split("/") if s.startswith("{")]
        return Match(node.methods, dict(zip(names, values, strict=True)))

    def nearest(self, path: str) -> str:
        """The dialect all operations refuse in below the longest documented run of segments.

        Where they differ, the one `x-nearest` names for the path's beginning, else the root's.
        """
        node = self._root
        for segment in _decoded(path, "replace"):
            following = node.children.get(segment) or (node.parameter if segment else None)
            if following is None:
                break
            node = following
        spoken = _dialects(node)
        ways = {self.document["x-dialects"][dialect]["errors"] for dialect in spoken}
        if len(ways) == 1:
            return min(spoken)
        named = (d for start, d in self.document.get("x-nearest", {}).items() if path.startswith(start))
        return str(next(named, self.document["x-dialect"]))


def _operation(
    document: Json, path: str, method: str, raw: Json, systems: Mapping[str, str], handlers: str
) -> Operation:
    for needed in ("operationId", "tags", "security", "responses"):
        if needed not in raw:
            raise SpecError(f"{method.upper()} {path} has no {needed}")
    tag = raw["tags"][0]
    dialect = dialect_of(document, raw)
    if dialect not in document["x-dialects"]:
        raise SpecError(f"{raw['operationId']} speaks {dialect}, which x-dialects does not define")
    security = tuple({s: frozenset(roles) for s, roles in r.items()} for r in raw["security"])
    schemes = frozenset(scheme for requirement in security for scheme in requirement)
    return Operation(
        id=raw["operationId"],
        method=method,
        path=path,
        tag=tag,
        system=systems[tag],
        dialect=dialect,
        plane=raw.get("x-plane", "sync"),
        limit=raw.get("x-limit", ""),
        security=security,
        module=f"{handlers}.{systems[tag]}.{tag}",
        raw=raw,
        parameters=tuple(_parameters(document, path, raw)),
        asked={scheme: tuple(r[scheme] for r in security if scheme in r) for scheme in schemes},
        schemes=schemes,
    )


def argument(name: str) -> str:
    """A parameter's name as a Python argument: `keyId` → `key_id`, `id` → `id_`, `from` → `from_`."""
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).replace("-", "_").lower()
    return f"{snake}_" if keyword.iskeyword(snake) or hasattr(builtins, snake) else snake


def _parameters(document: Json, path: str, raw: Json) -> list[Json]:
    """The operation's parameters with their references followed, so that types and defaults are at hand."""
    components = document["components"]
    listed = [*document["paths"][path].get("parameters", []), *raw.get("parameters", [])]
    found = [_followed(p, components.get("parameters", {})) for p in listed]
    return [p | {"schema": _followed(p["schema"], components.get("schemas", {}))} for p in found]


def _followed(node: Json, shared: Json) -> Json:
    while "$ref" in node:
        node = shared[node["$ref"].rsplit("/", 1)[1]]
    return node


def _decoded(path: str, errors: str) -> list[str]:
    """The segments of a path, each decoded by itself."""
    return [unquote(segment, errors=errors) for segment in path.split("/")[1:]]


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


def _dialects(node: _Node) -> set[str]:
    below = [*node.children.values(), *([node.parameter] if node.parameter else [])]
    return {o.dialect for o in node.methods.values()}.union(*(_dialects(child) for child in below))
