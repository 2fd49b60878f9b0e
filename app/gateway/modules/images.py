"""The images of a chat body: found wherever a caller may have put them, read no further than they must be, replaced."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from app.gateway.modules import signatures
from app.gateway.wire import Json

TYPES: Final = ("image_url", "input_image", "image")
HELD: Final = ("image_url", "source", "file", "image")
# Results of tools and documents hold parts of their own; deeper than that no provider looks.
DEEPEST: Final = 3
LONGEST_HEAD: Final = 300
PLAIN_TEXT: Final = {"type", "text"}
MARK: Final = ";base64"

Change = Callable[[Json], Json]


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its address, or the text that holds it in base64 from `start` on; neither where it cannot be read."""

    address: str = ""
    text: str = field(default="", repr=False)
    start: int = 0

    @property
    def size(self) -> int:
        """How many bytes it has, inline; nothing of it is read for that."""
        padding = 2 if self.text.endswith("==") else int(self.text.endswith("="))
        return max(0, (len(self.text) - self.start) * 3 // 4 - padding)

    def head(self, most: int) -> bytes:
        """Its first bytes; ValueError when they are not in base64."""
        cut = self.text[self.start : self.start + -(-most // 3) * 4]
        return binascii.a2b_base64(cut + "=" * (-len(cut) % 4), strict_mode=True)


def images(body: Json) -> Iterator[Image]:
    """Every image of the conversation, in order."""
    for message in _messages(body):
        yield from _within(message.get("content"))


def replaced(body: Json, change: Change) -> Json:
    """The body with every part that is an image changed, in a copy."""
    messages = [_changed(message, change) if isinstance(message, dict) else message for message in body["messages"]]
    return {**body, "messages": messages}


def _messages(body: Json) -> Iterator[Json]:
    messages = body.get("messages")
    yield from (said for said in messages if isinstance(said, dict)) if isinstance(messages, list) else ()


def _within(content: Any, depth: int = 0) -> Iterator[Image]:
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict):
            continue
        if _is_image(part):
            yield _image(part)
        elif (inner := _inner(part)) and depth < DEEPEST:
            yield from _within(inner, depth + 1)


def _changed(message: Json, change: Change) -> Json:
    content = message.get("content")
    parts = _parts(content, change) if isinstance(content, list) else content
    if parts == content:
        return message
    if isinstance(parts, list) and all(isinstance(part, dict) and part.keys() == PLAIN_TEXT for part in parts):
        parts = "\n\n".join(part["text"] for part in parts)  # a model without vision may take a text only
    return {**message, "content": parts}


def _parts(content: list[Any], change: Change, depth: int = 0) -> list[Any]:
    return [_part(part, change, depth) if isinstance(part, dict) else part for part in content]


def _part(part: Json, change: Change, depth: int) -> Json:
    if _is_image(part):
        return change(part)
    inner = _inner(part)
    if not inner or depth >= DEEPEST:
        return part
    parts = _parts(inner, change, depth + 1)
    if part.get("content") is inner:
        return {**part, "content": parts}
    return {**part, "source": {**part["source"], "content": parts}}


def _inner(part: Json) -> list[Any] | None:
    """The parts that a part is made of, if it is."""
    source = part.get("source")
    for held in (part.get("content"), source.get("content") if isinstance(source, dict) else None):
        if isinstance(held, list):
            return held
    return None


def _is_image(part: Json) -> bool:
    """Whether a provider would take it for an image: by its type, its field, or a file's own bytes."""
    if part.get("type") in TYPES or "image_url" in part:
        return True
    held = part.get("file")
    data = held.get("file_data") if isinstance(held, dict) else None
    return isinstance(data, str) and _is_pictured(_written(data))


def _is_pictured(file: Image) -> bool:
    try:
        return bool(file.text) and bool(signatures.kind_of(file.head(48)))
    except ValueError:
        return False


def _image(part: Json) -> Image:
    """What a part shows; one that has two images, of which a provider would choose, shows none that can be told."""
    held = [part[name] for name in HELD if part.get(name) is not None]
    return _held(held[0]) if len(held) == 1 else Image()


def _held(held: Any) -> Image:
    if isinstance(held, str):
        return _written(held)
    if not isinstance(held, dict):
        return Image()
    if held.get("type") == "base64" and isinstance(held.get("data"), str):
        return Image(text=held["data"])
    url = held.get("url", held.get("file_data"))
    return _written(url) if isinstance(url, str) else Image()


def _written(url: str) -> Image:
    """The image of an address or a `data:` URL, whose text is not copied."""
    if url[:5].lower() != "data:":
        return Image(address=url)
    comma = url.find(",", 0, LONGEST_HEAD)
    inline = comma > 0 and url[:comma].lower().endswith(MARK)
    return Image(text=url, start=comma + 1) if inline else Image()
