"""Weaves into each operation what its dialect promises of all of them: refusals and response headers."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

Json = dict[str, Any]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
AUTHORED = {
    "Unauthorized": "401",
    "PaymentRequired": "402",
    "Forbidden": "403",
    "NotFound": "404",
    "Conflict": "409",
    "Gone": "410",
    "PreconditionFailed": "412",
    "Unprocessable": "422",
    "ProviderError": "502",
    "Unavailable": "503",
    "ProviderTimeout": "504",
}
REASONS = {
    "400": "The request is malformed or breaks a rule of this document.",
    "401": "No credential was sent, or it is not valid.",
    "402": "The tier or quota does not cover this.",
    "403": "The credential is valid but may not do this.",
    "404": "There is no such thing, or it is not the caller's to see.",
    "409": "The request contradicts what is stored.",
    "410": "It was here and is gone.",
    "412": "It was changed since the version named in `If-Match`.",
    "413": "The body is larger than this operation takes.",
    "415": "The body has a media type this operation does not read.",
    "422": "The request is well formed but cannot be carried out.",
    "429": "Over the limit; `Retry-After` says when to come back.",
    "500": "The server failed; the request id finds the reason in its log.",
    "502": "The provider refused, failed, or sent no answer that can be read.",
    "503": "A dependency is not available; `Retry-After` says when to try again.",
    "504": "The provider did not answer in time.",
}
RETRY = {"429", "503"}
# Headers of every answer of every dialect, and the components that describe them.
COMMON = {"X-Request-Id": "RequestId", "X-Content-Type-Options": "ContentTypeOptions"}


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Every (path, method, operation) of a document."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def dialect_of(document: Json, operation: Json) -> str:
    """The operation's own dialect, or that of its (one) tag."""
    if own := operation.get("x-dialect"):
        return str(own)
    [tag] = operation["tags"]
    return next(str(t["x-dialect"]) for t in document["tags"] if t["name"] == tag)


def weave(document: Json) -> Json:
    """The document with universal refusals, per-dialect response components and common headers, in place."""
    _add_aliases(document)
    components = document["components"]
    used: set[tuple[str, str]] = set()
    for _path, _method, operation in operations(document):
        dialect = dialect_of(document, operation)
        responses = _resolved(operation["responses"], dialect)
        for status in _universal(document, dialect, operation):
            responses.setdefault(status, _ref(dialect, status))
        operation["responses"] = dict(sorted(responses.items()))
        _add_headers(operation["responses"], document["x-dialects"][dialect])
        used |= {(dialect, status) for status, r in responses.items() if r == _ref(dialect, status)}
    refusals = {f"{d}.{s}": _refusal(document, d, s) for d, s in sorted(used)}
    components["responses"] = components.get("responses", {}) | refusals
    return document


def _add_aliases(document: Json) -> None:
    """A twin for each path under an aliased prefix: the same handlers by another address, no redirect."""
    for prefix, alias in document.get("x-aliases", {}).items():
        for path in [p for p in document["paths"] if p.startswith(prefix)]:
            twin = document["paths"].setdefault(alias + path.removeprefix(prefix), {})
            twin |= {key: _twin(value, path) for key, value in document["paths"][path].items()}


def _twin(value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        return deepcopy(value)
    known = value["operationId"]
    described = {"description": f"The same as `{path}`. {value.get('description', '')}".rstrip()}
    return deepcopy(value) | {"operationId": f"{known}_unversioned", "x-alias-of": known} | described


def _ref(dialect: str, status: str) -> Json:
    return {"$ref": f"#/components/responses/{dialect}.{status}"}


def _resolved(responses: Json, dialect: str) -> Json:
    """Neutral references (`NotFound`) become the dialect's own."""
    names = {f"#/components/responses/{name}": status for name, status in AUTHORED.items()}
    return {s: _ref(dialect, names[r["$ref"]]) if r.get("$ref") in names else r for s, r in responses.items()}


def _universal(document: Json, dialect: str, operation: Json) -> Iterator[str]:
    manners = document["x-dialects"][dialect]
    has_body = "requestBody" in operation
    yield "400"
    yield "500"
    if operation.get("x-limit") != "exempt":
        yield "429"
    if operation["security"]:
        yield "401"
    if any(roles for requirement in operation["security"] for roles in requirement.values()):
        yield "403"
    if has_body:
        yield from ("413", "415")
    if manners["invalid"] != 400 and (has_body or operation.get("parameters")):  # noqa: PLR2004
        yield str(manners["invalid"])


def _refusal(document: Json, dialect: str, status: str) -> Json:
    manners = document["x-dialects"][dialect]
    headers = _header_refs(manners)
    if status in RETRY:
        headers |= {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    if status == "401":
        headers |= {"WWW-Authenticate": {"$ref": "#/components/headers/WwwAuthenticate"}}
    schema = {"$ref": f"#/components/schemas/{manners['schema']}"}
    return {"description": REASONS[status], "headers": headers, "content": {"application/json": {"schema": schema}}}


def _header_refs(manners: Json) -> Json:
    names = COMMON | {name: name.replace("-", "") for name in manners["headers"]}
    if other := manners.get("request_id"):
        names[other] = "RequestId"
    return {name: {"$ref": f"#/components/headers/{component}"} for name, component in names.items()}


def _add_headers(responses: Json, manners: Json) -> None:
    for response in responses.values():
        if "$ref" not in response:
            response["headers"] = _header_refs(manners) | response.get("headers", {})
