"""Rules about schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.spec.lint.sources import Place, Sources
from app.spec.weave import COMMON

Json = dict[str, Any]
Found = Iterator[tuple[Place, str]]
KINDS = frozenset({"type", "$ref", "enum", "const", "allOf", "anyOf", "oneOf", "not", "if", "required"})
# What a schema may say: JSON Schema 2020-12, and what OpenAPI 3.1 adds to it.
KEYWORDS = KINDS | set(
    """
    $schema $id $anchor $dynamicRef $dynamicAnchor $defs $comment $vocabulary title description default examples example
    deprecated readOnly writeOnly format pattern minLength maxLength minimum maximum exclusiveMinimum exclusiveMaximum
    multipleOf items prefixItems contains minContains maxContains minItems maxItems uniqueItems unevaluatedItems
    properties patternProperties additionalProperties propertyNames minProperties maxProperties unevaluatedProperties
    dependentRequired dependentSchemas then else contentEncoding contentMediaType contentSchema discriminator xml
    externalDocs nullable
    """.split()  # noqa: SIM905 (a table is read sooner than sixty lines)
)
# What weaving refers to.
WOVEN = (*COMMON.values(), "RetryAfter", "WwwAuthenticate")
LOW, HIGH = frozenset({"minimum", "exclusiveMinimum"}), frozenset({"maximum", "exclusiveMaximum"})
# Formats whose grammar has no place for a NUL.
PLAIN_FORMATS = frozenset(
    {"uuid", "date", "date-time", "email", "uri", "ipv4", "ipv6", "uri-reference", "byte", "ssh-public-key", "text"}
)


def types(schema: Json) -> set[str]:
    """The types a schema names."""
    named = schema.get("type", [])
    return {named} if isinstance(named, str) else set(named)


def typed(sources: Sources) -> Found:
    """A kind for every schema, and no 3.0 keyword."""
    for place, schema in sources.schemas():
        if "nullable" in schema:
            yield place, "nullable is OpenAPI 3.0"
        elif not KINDS & schema.keys() and not _meant_to(place, schema):
            yield place, "the schema allows anything"


def _meant_to(place: Place, schema: Json) -> bool:
    """Names are strings whatever is said of them, and `items: {}` says that an array may hold anything."""
    return place.pointer.endswith("/propertyNames") or (place.pointer.endswith("/items") and not schema)


def known_keyword(sources: Sources) -> Found:
    """No word that validators pass over."""
    for place, schema in sources.schemas():
        for key in schema:
            if key not in KEYWORDS and not str(key).startswith("x-"):
                yield place, f"{key!r} is no keyword of a schema"


def bounded_number(sources: Sources) -> Found:
    """Both bounds on every integer, and on every number that is read."""
    read = {place for _, place, _ in sources.request_schemas()}
    for place, schema in sources.schemas():
        wanted = {"integer", "number"} if place in read else {"integer"}
        if types(schema) & wanted and not _fixed(schema) and not (LOW & schema.keys() and HIGH & schema.keys()):
            yield place, "the number has no minimum or no maximum"


def bounded_string(sources: Sources) -> Found:
    """A length on every string."""
    for place, schema in sources.schemas():
        if "string" in types(schema) and not _fixed(schema) and "maxLength" not in schema:
            yield place, "the string has no maxLength"


def bounded_array(sources: Sources) -> Found:
    """A size on every array."""
    for place, schema in sources.schemas():
        whole = "items" in schema or "prefixItems" in schema
        if "array" in types(schema) and not ("maxItems" in schema and whole):
            yield place, "the array has no maxItems or no items"


def closed_request(sources: Sources) -> Found:
    """Request objects that refuse what they do not know."""
    for place, schema in _own_requests(sources):
        if "object" not in types(schema) or "unevaluatedProperties" in schema:
            continue
        if "additionalProperties" not in schema:
            yield place, "the request object does not say additionalProperties"
        elif schema.get("properties") and schema["additionalProperties"] in (True, {}):
            yield place, "the request object takes fields nobody reads"


def no_nul(sources: Sources) -> Found:
    """Text that PostgreSQL can store."""
    for place, schema in _own_requests(sources):
        free = "string" in types(schema) and not _fixed(schema) and "pattern" not in schema
        free = free and schema.get("format") != "binary"  # bytes, which are no text
        if free and schema.get("format") not in PLAIN_FORMATS:
            yield place, "the text may hold a NUL"


def no_ref_siblings(sources: Sources) -> Found:
    """References alone."""
    for place, node in sources.nodes():
        if isinstance(node.get("$ref"), str) and len(node) > 1:
            yield place, f"{', '.join(sorted(node.keys() - {'$ref'}))} beside a $ref"


def used(sources: Sources) -> Found:
    """No dead components."""
    told = {str(node["$ref"]) for _, node in sources.nodes() if "$ref" in node}
    told |= {f"#/components/schemas/{d['schema']}" for d in sources.root["x-dialects"].values()}
    told |= {f"#/components/headers/{name}" for name in WOVEN}
    told |= {
        f"#/components/headers/{n.replace('-', '')}" for d in sources.root["x-dialects"].values() for n in d["headers"]
    }
    for kind, named in sources.components.items():
        for name, (place, _) in named.items():
            if f"#/components/{kind}/{name}" not in told:
                yield place, "nothing refers to it"


def _own_requests(sources: Sources) -> Iterator[tuple[Place, Json]]:
    """What we read ourselves: some dialects' bodies are passed on with what we do not know in them."""
    forwarding = {name for name, manners in sources.root["x-dialects"].items() if manners.get("forwards")}
    return (
        (place, schema)
        for operation, place, schema in sources.request_schemas()
        if sources.dialect(operation) not in forwarding
    )


def _fixed(schema: Json) -> bool:
    return "enum" in schema or "const" in schema


CHECKS: Mapping[str, Callable[[Sources], Found]] = {
    "typed": typed,
    "known-keyword": known_keyword,
    "bounded-number": bounded_number,
    "bounded-string": bounded_string,
    "bounded-array": bounded_array,
    "closed-request": closed_request,
    "no-nul": no_nul,
    "no-ref-siblings": no_ref_siblings,
    "used": used,
}
