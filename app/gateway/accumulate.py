"""Puts a stream's chunks back together into the answer that would have come without streaming."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app.gateway.usage import to_openai
from app.gateway.wire import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.gateway.wire import Json, Usage

_WHOLE: Final = {"chat.completion.chunk": "chat.completion"}
_NOT_HEAD: Final = frozenset({"object", "choices", "usage", "obfuscation"})
_ARGUMENTS_ONLY: Final = 2  # `index` and `function`, as every piece after a call's first
_NOT_KEPT: Final = frozenset({"index", "delta", "text", "finish_reason", "logprobs"})


def accumulate(chunks: Iterable[Json], usage: Usage | None = None) -> Json:
    """The whole answer of a finished stream."""
    accumulator = Accumulator()
    for chunk in chunks:
        accumulator.add(chunk)
    return accumulator.result(usage)


class Accumulator:
    """Takes chunks one by one, chat or legacy completions, and keeps only their sum."""

    __slots__ = ("_choices", "_head")

    def __init__(self) -> None:
        self._head: Json = {}
        self._choices: dict[int, _Choice] = {}

    def add(self, chunk: Json) -> None:
        """Take one chunk in; it is not kept and not changed."""
        if not chunk.keys() <= self._head.keys():
            self._head = {**chunk, **self._head}
        for choice in chunk["choices"]:
            index = choice.get("index", 0)
            state = self._choices.get(index)
            if state is None:
                state = self._choices[index] = _Choice()
            state.add(choice)

    def result(self, usage: Usage | None = None) -> Json:
        """The answer as far as it has come; of a stream cut short, `finish_reason` stays null."""
        kind = self._head.get("object", "chat.completion.chunk")
        whole = {name: value for name, value in self._head.items() if name not in _NOT_HEAD}
        whole["object"] = _WHOLE.get(kind, kind)
        whole["choices"] = [self._choices[index].result(index) for index in sorted(self._choices)]
        if usage is not None:
            whole["usage"] = to_openai(usage, Kind.CHAT)
        return whole


class _Choice:
    """The sum of one choice's deltas; texts are kept in pieces until the end."""

    __slots__ = ("_arguments", "_calls", "_kept", "_message", "_text", "_texts")

    def __init__(self) -> None:
        self._kept: Json = {"finish_reason": None}
        self._texts: dict[str, list[str]] = {}
        self._message: Json | None = None
        self._text: list[str] = []
        self._calls: dict[int, Json] = {}
        self._arguments: dict[int, list[str]] = {}

    def add(self, choice: Json) -> None:
        delta = choice.get("delta")
        if delta is None:
            self._text.append(choice.get("text") or "")
        elif delta:
            self._say(delta)
        elif self._message is None:
            self._message = {}
        if choice.get("finish_reason"):
            self._kept["finish_reason"] = choice["finish_reason"]
        for name, value in choice.items():
            if name not in _NOT_KEPT:
                self._kept[name] = value
            elif name == "logprobs":
                self._kept[name] = merged(self._kept.get(name), value)

    def _say(self, delta: Json) -> None:
        message = self._message
        if message is None:
            message = self._message = {}
        for name, value in delta.items():
            if name == "tool_calls":
                self._call(value)
            elif type(value) is str and name != "role" and not message.get(name):
                self._texts.setdefault(name, []).append(value)
                message.setdefault(name, None)
            elif value is not None or name not in message:
                message[name] = self._mixed(name, value)

    def _mixed(self, name: str, value: Any) -> Any:
        """A field that is no plain text, or not any more: Mistral mixes texts and lists of parts."""
        pieces = self._texts.pop(name, None)
        held = "".join(pieces) if pieces else (self._message or {}).get(name)
        return value if name == "role" else merged(held, value)

    def _call(self, pieces: list[Json]) -> None:
        for piece in pieces:
            index = piece.get("index", len(self._calls))
            function = piece.get("function")
            if index in self._calls and len(piece) == _ARGUMENTS_ONLY and function and function.keys() == {"arguments"}:
                self._arguments.setdefault(index, []).append(function["arguments"] or "")
            else:
                added = {name: value for name, value in piece.items() if name != "index"}
                self._calls[index] = merged(self._whole(index), added)

    def _whole(self, index: int) -> Json | None:
        """A tool call with the arguments that came since it was last put together."""
        pieces = self._arguments.pop(index, None)
        held = self._calls.get(index)
        return merged(held, {"function": {"arguments": "".join(pieces)}}) if pieces else held

    def result(self, index: int) -> Json:
        if self._message is None:
            return {"index": index, "text": "".join(self._text), **self._kept}
        message = self._message | {name: "".join(pieces) for name, pieces in self._texts.items()}
        if self._calls:
            self._calls = {place: self._whole(place) or {} for place in sorted(self._calls)}
            message["tool_calls"] = list(self._calls.values())
        return {"index": index, "message": message, **self._kept}


_SAID_ONCE: Final = frozenset({"id", "type", "name", "role", "index", "object"})


def merged(held: Any, added: Any) -> Any:
    """Two pieces of one value: texts and lists are joined, objects merged by name, anything else replaced.

    What identifies (`id`, `type`, `name`) is said once; a provider that repeats it does not mean to lengthen it.
    """
    if added is None or held is None:
        return held if added is None else added
    if isinstance(held, str) and isinstance(added, str):
        return held + added
    if isinstance(held, dict) and isinstance(added, dict):
        both = dict(held)
        for name, value in added.items():
            both[name] = (held.get(name) or value) if name in _SAID_ONCE else merged(held.get(name), value)
        return both
    if isinstance(held, list) or isinstance(added, list):
        return _parts(held) + _parts(added)
    return added


def _parts(value: Any) -> list[Any]:
    """Content as a list of parts, whichever form it had."""
    if isinstance(value, list):
        return value
    return [{"type": "text", "text": value}] if value else []
