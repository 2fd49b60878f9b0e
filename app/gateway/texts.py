"""The texts of an answer, each through its own line of flows: whole answers and streams by the same rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from app.gateway.wire import Json, Usage

if TYPE_CHECKING:
    from app.gateway.steps import TextFlow
    from app.gateway.wire import Decoder

SPOKEN: Final = ("content", "reasoning_content", "reasoning", "refusal")
# A provider's own form of the same words, which no flow reads: it cannot leave beside what the flows let through.
DOUBLES: Final = frozenset({"anthropic_blocks", "thinking_blocks"})
ARGUMENTS: Final = "arguments"
TEXT: Final = "text"
# One text of an answer: its choice, its field, and for a tool call's arguments which call.
Key = tuple[int, str, int]


class Texts:
    """Takes an answer whole or chunk by chunk. `make` gives the flows of one text, by its field."""

    def __init__(self, make: Callable[[str], list[TextFlow]], *, hides: bool = True) -> None:
        self._make = make
        self._hides = hides
        self._lines: dict[Key, list[TextFlow]] = {}

    def whole(self, body: Json) -> Json:
        """A complete answer; the same object when nothing in it changes."""
        choices = [self._choice(choice, "message", end=True) for choice in body["choices"]]
        return body if choices == body["choices"] else {**body, "choices": choices}

    def chunk(self, chunk: Json) -> Json | None:
        """A stream's chunk; what waits leaves with the choice's end. None when nothing of it may leave yet."""
        choices = []
        for choice in chunk["choices"]:
            passed = self._choice(choice, "delta", end=bool(choice.get("finish_reason")))
            if not _is_silent(passed) or _is_silent(choice):
                choices.append(passed)
        return {**chunk, "choices": choices} if choices or not chunk["choices"] else None

    def _choice(self, choice: Json, name: str, *, end: bool) -> Json:
        index = choice.get("index", 0)
        passed = dict(choice)
        if self._hides and passed.get("logprobs"):
            passed["logprobs"] = None  # it spells the text out, token by token
        if isinstance(said := choice.get(name), dict):
            passed[name] = self._said(index, said)
        elif isinstance(text := choice.get(TEXT), str):
            passed[TEXT] = self._feed((index, TEXT, 0), text)
        if end:
            self._finish(index, passed, name)
        return passed

    def _said(self, index: int, said: Json) -> Json:
        passed = {name: value for name, value in said.items() if name not in DOUBLES} if self._hides else dict(said)
        for field in SPOKEN:
            if value := said.get(field):
                passed[field] = self._value((index, field, 0), value)
        if calls := said.get("tool_calls"):
            passed["tool_calls"] = [self._call(index, place, call) for place, call in enumerate(calls)]
        if isinstance(call := said.get("function_call"), dict):
            passed["function_call"] = self._arguments((index, ARGUMENTS, -1), call)
        return passed

    def _value(self, key: Key, value: Any) -> Any:
        if isinstance(value, str):
            return self._feed(key, value)
        if isinstance(value, list):
            return [self._part(key, part) for part in value]
        return value

    def _part(self, key: Key, part: Any) -> Any:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            return {**part, "text": self._feed(key, part["text"])}
        return part

    def _call(self, index: int, place: int, call: Json) -> Json:
        if not isinstance(call.get("function"), dict):
            return call
        key = (index, ARGUMENTS, call.get("index", place))
        return {**call, "function": self._arguments(key, call["function"])}

    def _arguments(self, key: Key, function: Json) -> Json:
        text = function.get("arguments")
        return {**function, "arguments": self._feed(key, text)} if isinstance(text, str) and text else function

    def _feed(self, key: Key, text: str) -> str:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = self._make(key[1])
        for flow in line:
            text = flow.feed(text)
        return text

    def _finish(self, index: int, passed: Json, name: str) -> None:
        """Add what still waits of this choice."""
        for key in [key for key in self._lines if key[0] == index]:
            tail = ""
            for flow in self._lines.pop(key):
                tail = flow.feed(tail) + flow.end()
            if tail:
                _append(passed, name, key, tail)


def _append(passed: Json, name: str, key: Key, tail: str) -> None:
    _, field, place = key
    if field == TEXT:
        passed[TEXT] = (passed.get(TEXT) or "") + tail
        return
    said: Json = passed.setdefault(name, {})
    if field == ARGUMENTS:
        _append_arguments(said, place, tail)
    elif isinstance(held := said.get(field), list):
        said[field] = _longer(held, tail)
    else:
        said[field] = (held or "") + tail


def _longer(parts: list[Any], tail: str) -> list[Any]:
    """The parts with the tail at the end of their last text."""
    for at in range(len(parts) - 1, -1, -1):
        if isinstance(parts[at], dict) and isinstance(parts[at].get("text"), str):
            return [*parts[:at], {**parts[at], "text": parts[at]["text"] + tail}, *parts[at + 1 :]]
    return [*parts, {"type": "text", "text": tail}]


def _append_arguments(said: Json, place: int, tail: str) -> None:
    if place < 0:
        call = dict(said.get("function_call") or {})
        said["function_call"] = call | {"arguments": (call.get("arguments") or "") + tail}
        return
    calls: list[Json] = list(said.get("tool_calls") or ())
    for at, call in enumerate(calls):
        if call.get("index", at) == place:
            function = call.get("function") or {}
            calls[at] = {**call, "function": {**function, "arguments": (function.get("arguments") or "") + tail}}
            break
    else:
        calls.append({"index": place, "function": {"arguments": tail}})
    said["tool_calls"] = calls


def _is_silent(choice: Json) -> bool:
    """Whether a choice of a chunk says nothing at all, not even its role or its end."""
    if choice.get("finish_reason"):
        return False
    delta = choice.get("delta")
    if delta is None:
        return not choice.get(TEXT)
    return not any(_loud(name, value) for name, value in delta.items())


def _loud(name: str, value: Any) -> bool:
    if name != "tool_calls" or not isinstance(value, list):
        return bool(value)
    return any(call.keys() - {"index", "function"} or any((call.get("function") or {}).values()) for call in value)


class FilteredDecoder:
    """A provider's decoder whose chunks pass through these texts."""

    __slots__ = ("_decoder", "_texts")

    def __init__(self, decoder: Decoder, texts: Texts) -> None:
        self._decoder = decoder
        self._texts = texts

    def feed(self, data: bytes) -> Iterator[Json]:
        """The chunks that may leave."""
        return filter(None, map(self._texts.chunk, self._decoder.feed(data)))

    def end(self) -> Iterator[Json]:
        """Those that may leave at the end."""
        return filter(None, map(self._texts.chunk, self._decoder.end()))

    @property
    def usage(self) -> Usage | None:
        """What the provider reported so far."""
        return self._decoder.usage
