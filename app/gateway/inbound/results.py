"""What tools returned, for chat: their text as tool messages, the rest shown by the user after them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.gateway.wire import Json


def shown(messages: Iterable[Json]) -> Iterator[Json]:
    """The messages; tool messages of one turn stay together, as chat asks of them."""
    pending: list[Json] = []
    for message in messages:
        content = message.get("content")
        if message["role"] != "tool":
            yield from _from_user(pending)
            pending = []
            yield message
        elif isinstance(content, list):
            rest = [part for part in content if part["type"] != "text"]
            about = {"type": "text", "text": f"What the tool call {message['tool_call_id']} returned:"}
            pending += [about, *rest]
            yield message | {"content": "\n\n".join(part["text"] for part in content if part["type"] == "text")}
        else:
            yield message
    yield from _from_user(pending)


def _from_user(parts: list[Json]) -> Iterator[Json]:
    if parts:
        yield {"role": "user", "content": parts}
