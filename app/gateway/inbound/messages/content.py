"""Anthropic's content blocks as parts of chat messages; what only Anthropic has stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from app.gateway.wire import Json

PDF = "application/pdf"
EMPTY = 2  # a role, and content that is null


def blocks_of(content: Any) -> list[Json]:
    """Content as blocks, each an object with a type."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(
        isinstance(b, dict) and isinstance(b.get("type"), str) for b in content
    ):
        raise ValueError("content must be a string or a list of blocks, each with a type")
    return content


def messages_of(message: Json) -> Iterator[Json]:
    """One turn as chat messages: tool results are messages of their own, before what else the user says."""
    role = message["role"]
    if role == "assistant":
        said = _assistant(blocks_of(message["content"]))
        if said["content"] is not None or len(said) > EMPTY:
            yield said
        return
    parts: list[Json] = []
    for block in blocks_of(message["content"]):
        if block["type"] == "tool_result":
            yield from _said(role, parts)
            parts = []
            yield _result(block)
        else:
            parts += _parts(block)
    yield from _said(role, parts)


def _said(role: str, parts: list[Json]) -> Iterator[Json]:
    if parts:
        yield {"role": role, "content": shortest(parts)}


def shortest(parts: list[Json]) -> Any:
    """One bare text as a string, which every provider reads."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts


def _assistant(blocks: list[Json]) -> Json:
    said: Json = {"role": "assistant", "content": None}
    thinking = [block for block in blocks if block["type"] == "redacted_thinking" or is_signed(block)]
    calls = [_call(block) for block in blocks if block["type"] == "tool_use"]
    rest = [block for block in blocks if block["type"] not in {"thinking", "redacted_thinking", "tool_use"}]
    if parts := [part for block in rest for part in _parts(block)]:
        said["content"] = shortest(parts)
    if thinking:
        said["thinking_blocks"] = thinking
    if calls:
        said["tool_calls"] = calls
    return said


def is_signed(block: Json) -> bool:
    """Whether Anthropic would take this thinking back: other providers' comes without a signature."""
    return block["type"] == "thinking" and bool(block.get("signature"))


def _call(block: Json) -> Json:
    arguments = block["input"]
    if not isinstance(arguments, dict):
        raise ValueError("the input of a tool_use block must be an object")  # noqa: TRY004  the caller's mistake
    function = {"name": _text(block["name"]), "arguments": orjson.dumps(arguments).decode()}
    return {"id": _text(block["id"]), "type": "function", "function": function} | _kept(block)


def _result(block: Json) -> Json:
    parts = [part for inner in blocks_of(block.get("content") or "") for part in _parts(inner)]
    content = shortest(parts) if parts else ""
    failed = {"is_error": True} if block.get("is_error") is True else {}
    return {"role": "tool", "tool_call_id": _text(block["tool_use_id"]), "content": content} | failed | _kept(block)


def _kept(block: Json) -> Json:
    return {"cache_control": block["cache_control"]} if block.get("cache_control") else {}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text was expected where the request has something else")  # noqa: TRY004  the caller's mistake
    return value


def _parts(block: Json) -> list[Json]:
    """The parts of one block; none for a text that says nothing."""
    convert = _PARTS.get(block["type"])
    parts = [block] if convert is None else convert(block)
    kept = _kept(block)
    return [part | kept for part in parts] if kept else parts


def _spoken(block: Json) -> list[Json]:
    text = _text(block["text"])
    return [{"type": "text", "text": text}] if text else []


def _image(block: Json) -> list[Json]:
    url = _address(block["source"])
    return [block] if url is None else [{"type": "image_url", "image_url": {"url": url}}]


def _address(source: Json) -> str | None:
    """The source as a URL; None for a file of Anthropic's own store."""
    if source["type"] == "base64":
        return f"data:{_text(source['media_type'])};base64,{_text(source['data'])}"
    return _text(source["url"]) if source["type"] == "url" else None


def _document(block: Json) -> list[Json]:
    source = block["source"]
    if source["type"] == "base64" and source.get("media_type", PDF) == PDF:
        name = block.get("title") or "document.pdf"
        data = f"data:{PDF};base64,{_text(source['data'])}"
        return [{"type": "file", "file": {"filename": name, "file_data": data}}]
    if source["type"] == "text":
        return _titled(block, [{"type": "text", "text": _text(source["data"])}])
    if source["type"] == "content":
        return _titled(block, [part for inner in blocks_of(source["content"]) for part in _parts(inner)])
    return [block]


def _found(block: Json) -> list[Json]:
    """A search result that the caller brings."""
    parts = [part for inner in blocks_of(block["content"]) for part in _parts(inner)]
    return _titled(block | {"context": block.get("source")}, parts)


def _titled(block: Json, parts: list[Json]) -> list[Json]:
    about = [text for name in ("title", "context") if isinstance(text := block.get(name), str) and text]
    return [*({"type": "text", "text": text} for text in about), *parts]


_PARTS: Mapping[str, Callable[[Json], list[Json]]] = {
    "text": _spoken,
    "image": _image,
    "document": _document,
    "search_result": _found,
}
