"""Rules about operations and paths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.spec.lint.sources import Place, Sources, Spoken
from app.spec.operations import argument

Json = dict[str, Any]
Found = Iterator[tuple[Place, str]]
ID = re.compile(r"[a-z]+(_[a-z0-9]+)+\Z")
ARTICLES = frozenset({"a", "an", "the"})
METHODS_OF = {
    "get": {"get"},
    "list": {"get"},
    "create": {"post"},
    "replace": {"put"},
    "update": {"patch", "put"},
    "delete": {"delete"},
}
EXTENSIONS = frozenset(
    {
        "x-dialects",
        "x-dialect",
        "x-nearest",
        "x-aliases",
        "x-system",
        "x-plane",
        "x-limit",
        "x-limit-pool",
        "x-audit",
        "x-unpaged",
        "x-alias-of",
        "x-refined-by",
        "x-roles",
        "x-scope",
        "x-transaction",
        "x-body",
    }
)
ROLES = frozenset({"admin", "user"})
PAGES = {
    "offset": ("limit", "offset"),
    "numbered": ("page", "limit"),
    "whole": ("limit", "offset"),
    "cursor": ("cursor", "limit"),
}
LIMIT = re.compile(
    r"exempt\Z|\d+/(\d+ ?)?(second|minute|hour|day)s?(;(ip|email|principal)(\+(ip|email|principal))*)?\Z"
)
BODILESS = frozenset({"204", "205", "304"})
SEGMENT = re.compile(r"\{[A-Za-z][A-Za-z0-9_]*\}\Z")


def operation_id(sources: Sources) -> Found:
    """verb_noun."""
    for operation in sources.operations():
        if not ID.match(operation.id) or ARTICLES & set(operation.id.split("_")):
            yield operation.place, f"{operation.id or 'it'} is no verb_noun"


def unique_id(sources: Sources) -> Found:
    """One operation of a name."""
    times = Counter(operation.id for operation in sources.operations())
    for operation in sources.operations():
        if times[operation.id] > 1:
            yield operation.place, f"{operation.id} is the name of {times[operation.id]} operations"


def verb_fits_method(sources: Sources) -> Found:
    """The verbs that promise a method keep it."""
    for operation in sources.operations():
        verb = operation.id.partition("_")[0]
        if operation.method not in METHODS_OF.get(verb, {operation.method}):
            yield operation.place, f"{operation.id} is {operation.method.upper()}"


def told(sources: Sources) -> Found:
    """Descriptions where readers look for them."""
    for operation in sources.operations():
        if missing := [key for key in ("summary", "description") if not operation.raw.get(key)]:
            yield operation.place, f"{operation.id} has no {' and no '.join(missing)}"
        for place, parameter in sources.parameters(operation):
            if not parameter.get("description"):
                yield place, f"{parameter.get('name')} has no description"
    for place, schema in sources.schemas():
        for name, node in schema.get("properties", {}).items():
            if isinstance(node, dict) and not node.keys() & {"description", "$ref"}:
                yield place.at("properties", name), f"{name} has no description"


def one_tag(sources: Sources) -> Found:
    """A tag that leads to a module and a dialect."""
    for operation in sources.operations():
        tags = operation.raw.get("tags", [])
        if len(tags) != 1 or tags[0] not in sources.tags:
            yield operation.place, f"{operation.id} has the tags {tags}"
    for number, tag in enumerate(sources.root["tags"]):
        if missing := sorted({"x-dialect", "x-system", "description"} - tag.keys()):
            yield Place("root.yaml", "").at("tags", number), f"{tag['name']} has no {missing[0]}"


def explicit_security(sources: Sources) -> Found:
    """Who may call, with schemes that exist and roles that mean something."""
    schemes = sources.root["components"]["securitySchemes"]
    roles = ROLES | set(sources.root.get("x-roles", ()))
    for operation in sources.operations():
        if "security" not in operation.raw:
            yield operation.place, f"{operation.id} does not say who may call it"
        for requirement in operation.raw.get("security", []):
            unknown = [scheme for scheme in requirement if scheme not in schemes]
            unknown += [role for asked in requirement.values() for role in asked if role not in roles]
            if unknown:
                yield operation.place, f"{operation.id} asks for {unknown[0]}, which is not declared"


def no_default_response(sources: Sources) -> Found:
    """Each status by its number."""
    for operation in sources.operations():
        if "default" in operation.raw.get("responses", {}):
            yield operation.place, f"{operation.id} has a default response"


def success(sources: Sources) -> Found:
    """One 2xx (or 3xx), shown; beside it one without content, or what clients of another system are answered."""
    for operation in sources.operations():
        good = {s: r for s, r in operation.raw.get("responses", {}).items() if s[:1] in {"2", "3"} and s != "304"}
        empty = [s for s, r in good.items() if not r.get("content")]
        if not good or len(empty) > 1 or len(good) > 1 + (len(empty) == 1 or sources.serves_several(operation)):
            yield operation.place, f"{operation.id} has {len(good)} successful responses"
        for status, response in good.items():
            place = operation.place.at("responses", status)
            yield from _shown(sources, operation, place, {} if status in BODILESS else response.get("content", {}))


def _shown(sources: Sources, operation: Spoken, place: Place, contents: Json) -> Found:
    for media, content in contents.items():
        schema = sources.followed(content.get("schema", {}))
        if "schema" not in content:
            yield place, f"{operation.id} answers {media} without a schema"
        elif media == "application/json" and not _has_example(sources, content, schema):
            yield place, f"{operation.id} shows no example"


def _has_example(sources: Sources, content: Json, schema: Json) -> bool:
    if {"example", "examples"} & (content.keys() | schema.keys()):
        return True
    inside = schema.get("properties", {}).values()
    return bool(inside) and all(_exemplary(sources, node) for node in inside)


def _exemplary(sources: Sources, node: Any) -> bool:
    """Whether an example of a property can be read off: it has one, or its items have."""
    schema = sources.followed(node) if isinstance(node, dict) else {}
    if {"example", "examples", "const", "enum"} & schema.keys():
        return True
    if "items" in schema:
        return _exemplary(sources, schema["items"])
    return schema.get("type") in {"string", "integer", "number", "boolean"}


def no_get_body(sources: Sources) -> Found:
    """No body where none is read."""
    for operation in sources.operations():
        if operation.method in {"get", "head"} and "requestBody" in operation.raw:
            yield operation.place, f"{operation.id} takes a body"


def path_parameters(sources: Sources) -> Found:
    """Templates and parameters agree."""
    for operation in sources.operations():
        segments = [s for s in operation.path.split("/") if "{" in s or "}" in s]
        if odd := [s for s in segments if not SEGMENT.match(s)]:
            yield operation.place, f"{odd[0]} is not a whole segment"
        declared = {p["name"] for _, p in sources.parameters(operation) if p.get("in") == "path" and p.get("required")}
        if declared != {s[1:-1] for s in segments}:
            yield operation.place, f"{operation.id} declares {sorted(declared)} for {operation.path}"


def one_shape(sources: Sources) -> Found:
    """One address, one spelling."""
    shapes: dict[str, str] = {}
    for operation in sources.operations():
        shape = re.sub(r"\{[^}]*\}", "{}", operation.path)
        if shapes.setdefault(shape, operation.path) != operation.path:
            yield operation.place, f"{operation.path} and {shapes[shape]} are one address"


def parameter_type(sources: Sources) -> Found:
    """One type each, one argument each."""
    for operation in sources.operations():
        parameters = list(sources.parameters(operation))
        names = Counter(argument(str(p.get("name"))) for _, p in parameters)
        for place, parameter in parameters:
            if not isinstance(sources.followed(parameter.get("schema", {})).get("type"), str):
                yield place, f"{parameter.get('name')} has no single type"
            if names[argument(str(parameter.get("name")))] > 1:
                yield place, f"{parameter.get('name')} shares its argument with another parameter"


def pages(sources: Sources) -> Found:
    """Lists that can be walked."""
    for operation in sources.operations():
        if not operation.id.startswith("list_") or operation.raw.get("x-unpaged"):
            continue
        style = sources.root["x-dialects"].get(sources.dialect(operation), {}).get("pages", "")
        given = {p.get("name") for _, p in sources.parameters(operation)}
        if missing := [name for name in PAGES.get(style, ()) if name not in given]:
            yield operation.place, f"{operation.id} takes no {' and no '.join(missing)}"


def own_bodies(sources: Sources) -> Found:
    """One schema does not serve two verbs."""
    taken: dict[str, Spoken] = {}
    for operation in sources.operations():
        for content in operation.raw.get("requestBody", {}).get("content", {}).values():
            reference = content.get("schema", {}).get("$ref")
            if not reference or operation.id.partition("_")[0] not in {"create", "update"}:
                continue
            other = taken.setdefault(reference, operation)
            if other.id.partition("_")[0] != operation.id.partition("_")[0]:
                yield operation.place, f"{operation.id} and {other.id} take the same body"


def known_extension(sources: Sources) -> Found:
    """No extension without effect."""
    for place, node in sources.nodes():
        if place.pointer.endswith(("/properties", "/headers")):
            continue
        for key in node:
            if isinstance(key, str) and key.startswith("x-") and key not in EXTENSIONS:
                yield place, f"{key} is not an extension of this server"


def limit(sources: Sources) -> Found:
    """Limits that can be read and held."""
    for operation in sources.operations():
        text = operation.raw.get("x-limit", "exempt")
        if not LIMIT.match(text):
            yield operation.place, f"{text!r} cannot be read"
        elif text != "exempt" and operation.raw.get("x-plane") == "async":
            yield operation.place, "limits of their own are held on the sync plane only"


CHECKS: Mapping[str, Callable[[Sources], Found]] = {
    "operation-id": operation_id,
    "unique-id": unique_id,
    "verb-fits-method": verb_fits_method,
    "told": told,
    "one-tag": one_tag,
    "explicit-security": explicit_security,
    "no-default-response": no_default_response,
    "success": success,
    "no-get-body": no_get_body,
    "path-parameters": path_parameters,
    "one-shape": one_shape,
    "parameter-type": parameter_type,
    "pages": pages,
    "own-bodies": own_bodies,
    "known-extension": known_extension,
    "limit": limit,
}
