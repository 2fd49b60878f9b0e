"""The items of a Responses input as chat messages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from app.gateway.inbound.results import shown
from app.gateway.wire import Json, UntranslatableError

SEAL: Final = "ym1."
_ROLES: Final = frozenset({"user", "assistant", "system", "developer"})
_KINDS: Final = frozenset({"thinking", "redacted_thinking"})


class Conversation:
    """Takes items in their order; reasoning, words and calls that follow each other are one turn of the assistant."""

    def __init__(self) -> None:
        self.messages: list[Json] = []
        self._turn: Json | None = None

    def take(self, item: Json, place: int) -> None:
        """One item; ValueError or UntranslatableError, naming it, when chat has no words for it."""
        add = _ITEMS.get(item.get("type") or "message")
        if add is None:
            raise UntranslatableError(f"input[{place}]: no provider is asked with items of this type", "input")
        try:
            add(self, item)
        except (LookupError, TypeError, AttributeError) as error:
            raise UntranslatableError(f"input[{place}] is not in OpenAI's shape: {error!r}"[:300], "input") from error

    def end(self) -> list[Json]:
        """All messages."""
        self._close()
        return list(shown(self.messages))

    def _close(self) -> None:
        if self._turn and (self._turn["content"] is not None or "tool_calls" in self._turn):
            self.messages.append(self._turn)
        self._turn = None

    def _open(self) -> Json:
        if self._turn is None:
            self._turn = {"role": "assistant", "content": None}
        return self._turn

    def _message(self, item: Json) -> None:
        role = item["role"]
        if role not in _ROLES:
            raise UntranslatableError("a message is of user, assistant, system or developer", "input")
        if role != "assistant":
            self._close()
            self.messages.append({"role": role, "content": content(item["content"])})
            return
        turn = self._turn
        if turn is not None and (turn["content"] is not None or "tool_calls" in turn):
            self._close()
        self._open()["content"] = content(item["content"])

    def _call(self, item: Json) -> None:
        function = {"name": _text(item["name"]), "arguments": _text(item["arguments"])}
        call = {"id": _text(item["call_id"]), "type": "function", "function": function}
        self._open().setdefault("tool_calls", []).append(call)

    def _output(self, item: Json) -> None:
        self._close()
        said = {"role": "tool", "tool_call_id": _text(item["call_id"]), "content": content(item["output"])}
        self.messages.append(said)

    def _reasoning(self, item: Json) -> None:
        """Thinking this server sealed goes back to who signed it; anybody else's says nothing to another model."""
        self._close()
        sealed = item.get("encrypted_content")
        if isinstance(sealed, str) and sealed.startswith(SEAL):
            self._open()["thinking_blocks"] = opened(sealed)


_ITEMS: Final[Mapping[str, Callable[[Conversation, Json], None]]] = {
    "message": Conversation._message,  # noqa: SLF001 (the table is the class's own)
    "function_call": Conversation._call,  # noqa: SLF001
    "function_call_output": Conversation._output,  # noqa: SLF001
    "reasoning": Conversation._reasoning,  # noqa: SLF001
}


def sealed(blocks: list[Json]) -> str:
    """Signed thinking as the opaque text that clients send back with their next turn."""
    return SEAL + base64.urlsafe_b64encode(orjson.dumps(blocks)).decode()


def opened(text: str) -> list[Json]:
    """What `sealed` made; UntranslatableError for anything else."""
    try:
        blocks = orjson.loads(base64.urlsafe_b64decode(text.removeprefix(SEAL)))
    except (binascii.Error, ValueError):
        blocks = None
    if not isinstance(blocks, list) or not all(isinstance(b, dict) and b.get("type") in _KINDS for b in blocks):
        raise UntranslatableError("encrypted_content is not as this server gave it", "input")
    return blocks


def content(value: Any) -> Any:
    """Content as chat has it: a text where there is nothing but text."""
    if isinstance(value, str):
        return value
    parts = [_PARTS[part["type"]](part) if part["type"] in _PARTS else _unknown(part["type"]) for part in value]
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def _unknown(kind: Any) -> Json:
    raise UntranslatableError(f"no provider is asked with content of type {str(kind)[:60]}", "input")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text was expected")
    return value


def _spoken(part: Json) -> Json:
    return {"type": "text", "text": _text(part["text"])}


def _image(part: Json) -> Json:
    if not part.get("image_url"):
        raise UntranslatableError("an image is taken by its URL or its data: this server keeps no files", "input")
    detail = {"detail": part["detail"]} if part.get("detail") else {}
    return {"type": "image_url", "image_url": {"url": _text(part["image_url"]), **detail}}


def _file(part: Json) -> Json:
    if not part.get("file_data"):
        raise UntranslatableError("a file is taken by its data: this server keeps no files and fetches none", "input")
    name = {"filename": _text(part["filename"])} if part.get("filename") else {}
    return {"type": "file", "file": {**name, "file_data": _text(part["file_data"])}}


_PARTS: Final[Mapping[str, Callable[[Json], Json]]] = {
    "input_text": _spoken,
    "output_text": _spoken,
    "text": _spoken,
    "summary_text": _spoken,
    "refusal": lambda part: {"type": "text", "text": _text(part["refusal"])},
    "input_image": _image,
    "input_file": _file,
}
