"""Decodes a stream of OpenAI-like chunks, mending what the imitations get wrong."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import orjson

from app.gateway import sse
from app.gateway.providers.openai import errors
from app.gateway.usage import from_openai
from app.gateway.wire import BadAnswerError, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.gateway.wire import Json, Usage

_OBJECTS: Final = {Kind.CHAT: "chat.completion.chunk", Kind.COMPLETIONS: "text_completion"}
_ID_PREFIX: Final = {Kind.CHAT: "chatcmpl-", Kind.COMPLETIONS: "cmpl-"}


class StreamDecoder:
    """One stream of chat or completion chunks.

    Frames without choices (usage only, Azure's filter results) are swallowed. A choice finishes once; one the provider
    never finished although it said `[DONE]` is finished with `stop` or `tool_calls`.
    """

    __slots__ = ("_chat", "_choices", "_done", "_head", "_kind", "_model", "_parser", "_usage")

    def __init__(self, kind: Kind, model: str) -> None:
        if kind not in _OBJECTS:
            raise ValueError(f"{kind} has no streams")
        self._kind = kind
        self._chat = kind is Kind.CHAT
        self._model = model
        self._parser = sse.Parser()
        self._head: Json = {}
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._done = False

    @property
    def usage(self) -> Usage | None:
        """What the provider reported so far, if anything."""
        return self._usage

    def feed(self, data: bytes) -> Iterator[Json]:
        """The chunks completed by these bytes, those before an error included."""
        try:
            events = self._parser.feed(data)
        except sse.OverlongEventError as error:
            raise BadAnswerError(f"the provider's stream cannot be read: {error}") from error
        for name, payload in events:
            chunk = self._chunk(name, payload)
            if chunk is not None:
                yield chunk

    def end(self) -> Iterator[Json]:
        """What is still owed; BadAnswerError when the provider stopped before the end."""
        for name, payload in self._parser.end():
            try:
                chunk = self._chunk(name, payload)
            except BadAnswerError:
                if self._complete():
                    break
                raise
            if chunk is not None:
                yield chunk
        if not self._choices:
            raise BadAnswerError("the provider's stream held no answer")
        if not self._done and not self._complete():
            raise BadAnswerError("the provider's stream was cut before its end")
        yield from self._owed()

    def _complete(self) -> bool:
        return bool(self._choices) and all(choice.finished for choice in self._choices.values())

    def _owed(self) -> Iterator[Json]:
        """A last chunk for each choice the provider left unfinished."""
        for index, state in self._choices.items():
            if not state.finished:
                state.finished = True
                reason = "tool_calls" if state.calls else "stop"
                said: Json = {"delta": {}} if self._chat else {"text": ""}
                yield {**self._head, "choices": [{"index": index, **said, "logprobs": None, "finish_reason": reason}]}

    def _chunk(self, name: str, payload: bytes) -> Json | None:
        """The mended chunk of one event, if it is to be passed on."""
        if self._done:
            return None
        if payload.startswith(b"[DONE]"):
            self._done = True
            return None
        chunk = _parsed(payload)
        choices = chunk.get("choices")
        _refuse_errors(name, chunk, choices)
        self._count(chunk)
        if not isinstance(choices, list) or not choices:
            return None
        chunk.update(self._head or self._started(chunk))
        chunk["choices"] = [kept for choice in choices if (kept := self._mended(choice)) is not None]
        return chunk if chunk["choices"] else None

    def _count(self, chunk: Json) -> None:
        """Take the usage off a chunk; Groq puts it under `x_groq`. The latest wins: running totals only grow."""
        usage = chunk.pop("usage", None)
        vendor = chunk.pop("x_groq", None)
        if usage is None and isinstance(vendor, dict):
            usage = vendor.get("usage")
        if usage is not None:
            self._usage = from_openai(usage) or self._usage

    def _started(self, chunk: Json) -> Json:
        """What every chunk carries alike, from the first that has choices."""
        self._head = identity(self._kind, chunk, self._model) | {"object": _OBJECTS[self._kind]}
        return self._head

    def _mended(self, choice: Any) -> Json | None:
        """One choice as a client expects it; None when nothing is left of it."""
        if not isinstance(choice, dict):
            raise BadAnswerError("the provider's stream held a choice that is no object")
        if choice.get("error"):
            raise BadAnswerError(errors.complaint(choice).message)
        index = choice.get("index")
        if not isinstance(index, int):
            index = choice["index"] = 0
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice()
        reason = choice.get("finish_reason") or None
        said = state.say(choice) if self._chat else _says_text(choice)
        if state.finished and not said:
            return None
        choice["finish_reason"] = None if state.finished else reason
        state.finished = state.finished or reason is not None
        return choice


class _Choice:
    """What has been sent of one choice so far; `calls` are the ids of its tool calls by index."""

    __slots__ = ("begun", "calls", "finished")

    def __init__(self) -> None:
        self.begun = False
        self.finished = False
        self.calls: dict[int, str | None] = {}

    def say(self, choice: Json) -> bool:
        """Mend the delta in place: the role comes first and once. True when it says anything."""
        delta = choice.get("delta")
        choice.pop("message", None)
        if not isinstance(delta, dict):
            delta = choice["delta"] = {}
        role = delta.pop("role", None)
        if "tool_calls" in delta:
            self._number(delta)
        said = any(delta.values())
        if not self.begun:
            self.begun = True
            choice["delta"] = {"role": role or "assistant", **delta}
        return said

    def _number(self, delta: Json) -> None:
        """Give each piece of a tool call an index of its own; empty lists go."""
        pieces = delta["tool_calls"]
        if not pieces or not isinstance(pieces, list):
            del delta["tool_calls"]
            return
        for piece in pieces:
            if not isinstance(piece, dict):
                raise BadAnswerError("the provider's stream held a tool call that is no object")
            index = piece["index"] = self._index(piece)
            if index not in self.calls:
                self.calls[index] = piece.get("id")
                piece.setdefault("type", "function")

    def _index(self, piece: Json) -> int:
        """The index given, unless it is missing or another call's: some count every parallel call as 0."""
        index, call_id = piece.get("index"), piece.get("id") or None
        if isinstance(index, int) and (call_id is None or self.calls.get(index) in (None, call_id)):
            return index
        known = [place for place, held in self.calls.items() if held == call_id]
        last = max(self.calls, default=-1)
        return known[0] if known else last + 1 if call_id else max(last, 0)


def identity(kind: Kind, body: Json, model: str) -> Json:
    """The `id`, `created` (Unix seconds) and `model` of an answer, made up where the provider left them out."""
    created = body.get("created")
    return {
        "id": body.get("id") or _ID_PREFIX[kind] + uuid.uuid4().hex,
        "created": created if isinstance(created, int) and created > 0 else int(time.time()),
        "model": body.get("model") or model,
    }


def _says_text(choice: Json) -> bool:
    choice["text"] = choice.get("text") or ""
    return bool(choice["text"])


def _parsed(payload: bytes) -> Json:
    try:
        chunk = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        said = errors.shown(payload.decode("utf-8", "replace"), 200)
        raise BadAnswerError(f"the provider's stream held a frame that is no JSON: {said}") from error
    if not isinstance(chunk, dict):
        raise BadAnswerError("the provider's stream held a frame that is no object")
    return chunk


def _refuse_errors(name: str, chunk: Json, choices: Any) -> None:
    """BadAnswerError, in the provider's words, for a frame that reports a failure."""
    vendor = chunk.get("x_groq")
    if chunk.get("error") or name == "error" or chunk.get("object") == "error":
        raise BadAnswerError(errors.complaint(chunk).message)
    if isinstance(vendor, dict) and vendor.get("error"):
        raise BadAnswerError(errors.complaint(vendor).message)
    if not choices and "choices" not in chunk and "usage" not in chunk and (said := errors.parse(chunk).message):
        raise BadAnswerError(errors.shown(said, errors.MESSAGE_LIMIT))
