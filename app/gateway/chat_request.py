"""Reading what an OpenAI chat body asks for, for wires that must say it in other words."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from app.gateway.wire import Json

SYSTEM_ROLES = frozenset({"system", "developer"})
_DATA_URL = re.compile(r"data:(?P<mime>[\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,(?P<data>.*)", re.DOTALL)


@contextmanager
def asked() -> Iterator[None]:
    """Reading a caller's JSON: what breaks the reader becomes ValueError, for the body is not OpenAI's."""
    try:
        yield
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"the request body is not in OpenAI's shape: {error!r}") from error


class Inline(NamedTuple):
    """The content of a `data:` URL: its MIME type and its base64 text."""

    mime: str
    data: str


def inline(url: str) -> Inline | None:
    """The content of a base64 `data:` URL (RFC 2397), or None when the URL points elsewhere."""
    if not url.startswith("data:"):
        return None
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise ValueError("a data: URL must name a MIME type and hold base64")
    return Inline(match["mime"], match["data"])


def content_parts(content: Any) -> list[Json]:
    """A message's content as parts: a string is one text part, absent content none."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list):
        return [{"type": "text", "text": part} if isinstance(part, str) else _part(part) for part in content]
    raise ValueError("message content must be a string or a list of parts")


def _part(part: Any) -> Json:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise ValueError("each content part must be an object with a type")  # noqa: TRY004  the caller's mistake
    return part


def text_of(content: Any) -> str:
    """The text of a message that may hold nothing else; ValueError for any other kind of part."""
    texts = []
    for part in content_parts(content):
        if part["type"] not in {"text", "refusal"}:
            raise ValueError(f"this message can only hold text, not {part['type']}")
        texts.append(str(part.get("text") or part.get("refusal") or ""))
    return "\n\n".join(text for text in texts if text)


def messages_of(body: Json) -> list[Json]:
    """The messages of a chat body, each an object with a role."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a list with at least one message")
    if not all(isinstance(message, dict) and isinstance(message.get("role"), str) for message in messages):
        raise ValueError("each message must be an object with a role")
    return messages


def system_messages(body: Json) -> list[Json]:
    """The messages that instruct the model rather than converse with it, wherever they stand."""
    return [message for message in messages_of(body) if message["role"] in SYSTEM_ROLES]


def system_text(body: Json) -> str:
    """All system and developer messages, separated by blank lines."""
    return "\n\n".join(filter(None, (text_of(message.get("content")) for message in system_messages(body))))


def arguments_of(call: Json) -> Json:
    """The arguments of a tool call as an object; ValueError when they are no JSON object."""
    text = call.get("function", {}).get("arguments") or "{}"
    try:
        arguments = orjson.loads(text) if isinstance(text, str) else text
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise ValueError("the arguments of a tool call in messages must be a JSON object")  # noqa: TRY004  the caller's mistake
    return arguments


def stop_list(body: Json) -> list[str]:
    """The stop sequences, however the caller wrote them."""
    stop = body.get("stop")
    return [stop] if isinstance(stop, str) else list(stop or [])


def token_limit(body: Json) -> int | None:
    """The most tokens to generate, by its new name or its old one."""
    limit = body.get("max_completion_tokens")
    return body.get("max_tokens") if limit is None else limit


def json_schema(body: Json) -> Json | None:
    """The schema of `response_format`, or None when it asks for something else."""
    wanted = body.get("response_format") or {}
    if wanted.get("type") != "json_schema":
        return None
    schema = (wanted.get("json_schema") or {}).get("schema")
    if not isinstance(schema, dict):
        raise ValueError("response_format json_schema needs a schema")  # noqa: TRY004  the caller's mistake
    return schema


def functions_of(body: Json) -> Iterator[tuple[Json, Json]]:
    """Each function tool with its declaration: (tool, function)."""
    for tool in body.get("tools") or []:
        if tool.get("type") == "function":
            yield tool, tool["function"]


class Choice(NamedTuple):
    """Which tools the model may call: `mode` is auto, none or required; `names` limits them when not empty."""

    mode: str
    names: tuple[str, ...] = ()


def tool_choice(body: Json) -> Choice | None:
    """The caller's tool choice in one form, or None when it made none."""
    asked = body.get("tool_choice")
    if asked is None:
        return None
    if asked in ("auto", "none", "required"):
        return Choice(asked)
    if isinstance(asked, dict) and asked.get("type") == "function":
        return Choice("required", (asked["function"]["name"],))
    if isinstance(asked, dict) and asked.get("type") == "allowed_tools":
        allowed = asked["allowed_tools"]
        return Choice(allowed.get("mode", "auto"), tuple(tool["function"]["name"] for tool in allowed["tools"]))
    raise ValueError("tool_choice must be auto, none, required, a function or allowed_tools")


def refuse(body: Json, unable: Mapping[str, str], provider: str) -> None:
    """ValueError when the body uses a field the provider has nothing for; empty and zero values ask for nothing."""
    for name, why in unable.items():
        if body.get(name):
            raise ValueError(f"{provider} cannot honour {name}: {why}")
