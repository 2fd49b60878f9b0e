"""OpenAI messages as Anthropic turns of content blocks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from app.gateway.chat_request import SYSTEM_ROLES, arguments_of, content_parts, inline, messages_of, system_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.gateway.wire import Json

# Blocks Anthropic defines itself: a caller who writes them means them.
_NATIVE = frozenset(
    {
        "image",
        "document",
        "search_result",
        "tool_result",
        "tool_use",
        "thinking",
        "redacted_thinking",
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "mcp_tool_use",
        "mcp_tool_result",
        "container_upload",
    }
)
_FOREIGN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def system(body: Json) -> str | list[Json]:
    """The `system` field: text joined by blank lines, or blocks when a part sets a cache breakpoint."""
    blocks = [block for message in system_messages(body) for block in _blocks(message)]
    if any("cache_control" in block for block in blocks):
        return blocks
    if any(block["type"] != "text" for block in blocks):
        raise ValueError("a system message can only hold text")
    return "\n\n".join(block["text"] for block in blocks)


def turns(body: Json) -> list[Json]:
    """The conversation, with consecutive messages of one role merged into a single turn."""
    merged: list[Json] = []
    for message in messages_of(body):
        if message["role"] in SYSTEM_ROLES:
            continue
        role, blocks = _turn(message)
        if not blocks:
            continue
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += blocks
        else:
            merged.append({"role": role, "content": blocks})
    if not merged:
        raise ValueError("anthropic needs at least one message that is not a system message")
    return merged


def _turn(message: Json) -> tuple[str, list[Json]]:
    role = message["role"]
    if role == "user":
        return "user", _blocks(message)
    if role == "assistant":
        thinking = list(message.get("thinking_blocks") or [])
        return "assistant", [*thinking, *_blocks(message), *map(_tool_use, message.get("tool_calls") or [])]
    if role == "tool":
        return "user", [_tool_result(message)]
    raise ValueError(f"anthropic has no role {role}")


def _blocks(message: Json) -> list[Json]:
    blocks = map(_block, content_parts(message.get("content")))
    # Anthropic refuses empty text blocks; they say nothing.
    return [block for block in blocks if block.get("text") != ""]


def _block(part: Json) -> Json:
    kind = part["type"]
    if kind in _NATIVE:
        return part
    convert = _BLOCKS.get(kind)
    if convert is None:
        raise ValueError(f"anthropic takes no content part of type {kind}")
    block = convert(part)
    if "cache_control" in part:
        block["cache_control"] = part["cache_control"]
    return block


def _image(part: Json) -> Json:
    url = part["image_url"]
    return {"type": "image", "source": _source(url["url"] if isinstance(url, dict) else url)}


def _source(url: str) -> Json:
    data = inline(url)
    if data is not None:
        return {"type": "base64", "media_type": data.mime, "data": data.data}
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    raise ValueError("an image must be an http(s) URL or a data: URL")


def _file(part: Json) -> Json:
    file = part["file"]
    if "file_data" not in file:
        raise ValueError("anthropic takes a file by its data, not by an OpenAI file id")
    document: Json = {"type": "document", "source": _source(file["file_data"])}
    return {**document, "title": file["filename"]} if file.get("filename") else document


_BLOCKS: dict[str, Callable[[Json], Json]] = {
    "text": lambda part: {"type": "text", "text": part["text"]},
    "refusal": lambda part: {"type": "text", "text": part["refusal"]},
    "image_url": _image,
    "file": _file,
}


def _tool_use(call: Json) -> Json:
    if call.get("type", "function") != "function":
        raise ValueError("anthropic takes function tool calls only")
    use = {"type": "tool_use", "id": _id(call.get("id")), "name": call["function"]["name"], "input": arguments_of(call)}
    return use | ({"cache_control": call["cache_control"]} if call.get("cache_control") else {})


def _tool_result(message: Json) -> Json:
    content = message.get("content")
    result: Json = {
        "type": "tool_result",
        "tool_use_id": _id(message.get("tool_call_id")),
        "content": content if isinstance(content, str) else _blocks(message),
    }
    return result | {name: message[name] for name in ("cache_control", "is_error") if name in message}


def _id(call_id: Any) -> str:
    # Other providers' ids may hold dots or colons, which Anthropic refuses; both ends of a pair are rewritten alike.
    if not isinstance(call_id, str) or not call_id:
        raise ValueError("a tool call and its result must share an id")
    return _FOREIGN_ID.sub("_", call_id)
