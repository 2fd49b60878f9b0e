"""OpenAI messages as Gemini contents of parts."""

from __future__ import annotations

import mimetypes
import re
from typing import TYPE_CHECKING, Any

import orjson

from app.gateway.chat_request import SYSTEM_ROLES, arguments_of, content_parts, inline, messages_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.gateway.wire import Json

# Gemini 3 refuses a function call of the history without a thought signature; for calls another model made, Google
# documents this value ("Thought signatures", ai.google.dev/gemini-api/docs/thought-signatures).
UNSIGNED = "skip_thought_signature_validator"
_UNSIGNING = re.compile(r"gemini-[12]\b")


def contents(body: Json, model: str) -> list[Json]:
    """The conversation, consecutive messages of one role merged; tool results find their function by call id."""
    names: dict[str, str] = {}
    merged: list[Json] = []
    for message in messages_of(body):
        if message["role"] in SYSTEM_ROLES:
            continue
        role, parts = _content(message, names, model)
        if not parts:
            continue
        if merged and merged[-1]["role"] == role:
            merged[-1]["parts"] += parts
        else:
            merged.append({"role": role, "parts": parts})
    if not merged:
        raise ValueError("gemini needs at least one message that is not a system message")
    return merged


def _content(message: Json, names: dict[str, str], model: str) -> tuple[str, list[Json]]:
    role = message["role"]
    if role == "user":
        return "user", _parts(message)
    if role == "assistant":
        return "model", [*_parts(message), *_calls(message, names, model)]
    if role == "tool":
        return "user", [_response(message, names)]
    raise ValueError(f"gemini has no role {role}")


def _parts(message: Json) -> list[Json]:
    parts = map(_part, content_parts(message.get("content")))
    return [part for part in parts if part.get("text") != ""]


def _part(part: Json) -> Json:
    convert = _PARTS.get(part["type"])
    if convert is None:
        raise ValueError(f"gemini takes no content part of type {part['type']}")
    return convert(part)


def _image(part: Json) -> Json:
    url = part["image_url"]
    return _media(url["url"] if isinstance(url, dict) else url)


def _media(url: str) -> Json:
    data = inline(url)
    if data is not None:
        return {"inlineData": {"mimeType": data.mime, "data": data.data}}
    if not url.startswith(("https://", "http://")):
        raise ValueError("an image must be an http(s) URL or a data: URL")
    mime = mimetypes.guess_type(url.partition("?")[0])[0]
    return {"fileData": {"fileUri": url} | ({"mimeType": mime} if mime else {})}


def _file(part: Json) -> Json:
    if "file_data" not in part["file"]:
        raise ValueError("gemini takes a file by its data, not by an OpenAI file id")
    return _media(part["file"]["file_data"])


def _audio(part: Json) -> Json:
    audio = part["input_audio"]
    return {"inlineData": {"mimeType": f"audio/{audio['format']}", "data": audio["data"]}}


_PARTS: dict[str, Callable[[Json], Json]] = {
    "text": lambda part: {"text": part["text"]},
    "refusal": lambda part: {"text": part["refusal"]},
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
}


def _calls(message: Json, names: dict[str, str], model: str) -> list[Json]:
    parts = []
    for call in message.get("tool_calls") or []:
        if call.get("type", "function") != "function":
            raise ValueError("gemini takes function tool calls only")
        name = call["function"]["name"]
        names[call["id"]] = name
        part: Json = {"functionCall": {"id": call["id"], "name": name, "args": arguments_of(call)}}
        parts.append(part | _signature(call))
    if parts and "thoughtSignature" not in parts[0] and not _UNSIGNING.match(model):
        parts[0]["thoughtSignature"] = UNSIGNED
    return parts


def _signature(call: Json) -> Json:
    signature = ((call.get("extra_content") or {}).get("google") or {}).get("thought_signature")
    return {"thoughtSignature": signature} if signature else {}


def _response(message: Json, names: dict[str, str]) -> Json:
    call_id = message.get("tool_call_id")
    name = names.get(call_id) if isinstance(call_id, str) else None
    if name is None:
        raise ValueError("a tool message must answer a tool call made earlier in messages")
    return {"functionResponse": {"id": call_id, "name": name, "response": _result(message.get("content"))}}


def _result(content: Any) -> Json:
    """Gemini wants an object: a result that is one stays itself, anything else goes under `result`."""
    text = text_of(content)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = text
    return value if isinstance(value, dict) else {"result": value}
