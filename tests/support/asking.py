"""Requests made from the document: for any operation, with harmless parameters and the least body it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from app.factory import Application
from app.spec.operations import Operation

Json = dict[str, Any]
TEXTS = {
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "nobody@localhost.example",
    "date-time": "2030-01-01T00:00:00Z",
    "date": "2030-01-01",
    "uri": "https://localhost.example/",
}
ANSWERS_WITHIN_S = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What came back: the status and headers. A stream is left as soon as it has begun."""

    status: int
    headers: dict[str, str]


def path_of(operation: Operation, known: Mapping[str, str] = MappingProxyType({})) -> str:
    """The operation's path with the values that are known, and others that lead to nothing."""
    values = {p["name"]: str(least(p["schema"], {})) for p in operation.parameters if p["in"] == "path"} | known
    return "/".join(quote(values[s[1:-1]], safe="") if s.startswith("{") else s for s in operation.path.split("/"))


def query_of(operation: Operation) -> str:
    """The parameters an operation cannot do without."""
    needed = [p for p in operation.parameters if p["in"] == "query" and p.get("required")]
    return "&".join(f"{p['name']}={quote(str(least(p['schema'], {})))}" for p in needed)


def body_of(operation: Operation, document: Json) -> bytes:
    """The least body the operation takes, as JSON; empty when it takes none."""
    content = operation.raw.get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return b""
    return json.dumps(least(content["application/json"]["schema"], document)).encode()


def least(schema: Json, document: Json) -> Any:
    """A small value of a schema: what it names, or its required parts; numbers as large as they may be."""
    if "$ref" in schema:
        return least(document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], document)
    for word in ("const", "example", "default"):
        if word in schema and not isinstance(schema[word], dict):
            return schema[word]
    for word in ("enum", "examples"):
        if schema.get(word):
            return schema[word][0]
    for word in ("oneOf", "anyOf", "allOf"):
        if word in schema:
            return least(schema[word][0], document)
    kind = schema.get("type", "object")
    return MAKERS[kind[0] if isinstance(kind, list) else kind](schema, document)


def _object(schema: Json, document: Json) -> Json:
    properties = schema.get("properties", {})
    return {name: least(properties[name], document) for name in schema.get("required", ()) if name in properties}


MAKERS: dict[str, Any] = {
    "object": _object,
    "array": lambda s, d: [least(s["items"], d) for _ in range(s.get("minItems", 0))],
    "string": lambda s, _: TEXTS.get(s.get("format", ""), "x" * max(1, s.get("minLength", 1))),
    "integer": lambda s, _: s.get("maximum", 1),
    "number": lambda s, _: s.get("minimum", 1),
    "boolean": lambda _s, _d: False,
    "null": lambda _s, _d: None,
}


async def ask(
    application: Application, operation: Operation, headers: dict[str, str], known: Mapping[str, str]
) -> Asked:
    """One request to an operation over ASGI; gone as soon as its answer has begun, so that no stream runs on."""
    document = application.runtime.index.document
    body, begun = body_of(operation, document), asyncio.get_running_loop().create_future()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Json:
        if messages:
            return messages.pop()
        await begun
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and not begun.done():
            begun.set_result(message)

    task = asyncio.ensure_future(
        application(_scope(operation, path_of(operation, known), headers, body), receive, send)
    )
    await asyncio.wait({task, begun}, timeout=ANSWERS_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
    start = begun.result()
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(task, ANSWERS_WITHIN_S)
    return Asked(start["status"], {k.decode().lower(): v.decode("latin-1") for k, v in start["headers"]})


def _scope(operation: Operation, path: str, headers: dict[str, str], body: bytes) -> Json:
    sent = {"host": "127.0.0.1", "content-length": str(len(body))} | headers
    if body:
        sent["content-type"] = "application/json"
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 4200),
        "client": ("127.0.0.1", 50000),
        "root_path": "",
        "method": operation.method.upper(),
        "path": path,
        "raw_path": path.encode(),
        "query_string": query_of(operation).encode(),
        "headers": [(k.encode(), v.encode()) for k, v in sent.items()],
    }
