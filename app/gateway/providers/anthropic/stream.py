"""An Anthropic event stream as OpenAI chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from app.gateway.chat_response import Head, fresh_id, understood
from app.gateway.providers.anthropic.answer import explanation, finish, is_signed, read_usage
from app.gateway.providers.openai.errors import complaint
from app.gateway.sse import Parser
from app.gateway.wire import BadAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.gateway.wire import Json, Usage


@dataclass(slots=True)
class _Block:
    """A content block still open: what it is, and how much of its arguments came as deltas."""

    body: Json
    call: int | None = None
    streamed: bool = False


class AnthropicDecoder:
    """One Messages stream, from `message_start` to `message_stop`."""

    __slots__ = ("_blocks", "_calls", "_ended", "_head", "_model", "_sse", "_stop", "_usage")

    def __init__(self, model: str) -> None:
        self._sse = Parser()
        self._model = model
        self._head: Head | None = None
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._stop: Json = {}
        self._usage: Json | None = None
        self._ended = False

    @property
    def usage(self) -> Usage | None:
        """The counts of `message_start`, brought up to date by each `message_delta`."""
        return None if self._usage is None else read_usage(self._usage)

    def feed(self, data: bytes) -> Iterator[Json]:
        """The chunks completed by these bytes, those before an error included."""
        with understood("anthropic"):
            for _, text in self._sse.feed(data):
                yield from self._event(text)

    def end(self) -> Iterator[Json]:
        """Nothing is held back; BadAnswerError when `message_stop` never came."""
        with understood("anthropic"):
            for _, text in self._sse.end():
                yield from self._event(text)
        if not self._ended:
            raise BadAnswerError("anthropic's stream was cut before its end")

    def _event(self, text: bytes) -> Iterator[Json]:
        event = orjson.loads(text)
        if event.get("type") == "error":
            raise BadAnswerError(complaint(event).message)
        name = _EVENTS.get(event.get("type"))
        if name is None or self._ended:
            return iter(())
        handled: Iterator[Json] = getattr(self, name)(event)
        return handled

    def _chunk(self, delta: Json, end: str | None = None) -> Json:
        if self._head is None:
            raise BadAnswerError("anthropic's stream began without message_start")
        return self._head.chunk(0, delta, end)

    def _message_start(self, event: Json) -> Iterator[Json]:
        message = event["message"]
        self._head = Head(message.get("id") or fresh_id(), message.get("model") or self._model)
        self._count(message.get("usage"))
        yield self._chunk({"role": "assistant", "content": None})

    def _count(self, usage: Json | None) -> None:
        counts = {name: value for name, value in (usage or {}).items() if value is not None}
        self._usage = (self._usage or {}) | counts

    def _block_start(self, event: Json) -> Iterator[Json]:
        block = _Block(dict(event["content_block"]))
        self._blocks[event["index"]] = block
        if block.body["type"] == "tool_use":
            block.call = self._calls
            self._calls += 1
            yield self._call(block, id=block.body["id"], type="function", name=block.body["name"])
        elif block.body["type"] == "text" and block.body.get("text"):
            yield self._chunk({"content": block.body["text"]})
        elif block.body["type"] == "thinking" and block.body.get("thinking"):
            yield self._chunk({"reasoning_content": block.body["thinking"]})

    def _call(self, block: _Block, arguments: str = "", name: str | None = None, **fields: str) -> Json:
        function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
        return self._chunk({"tool_calls": [{"index": block.call, **fields, "function": function}]})

    def _block_delta(self, event: Json) -> Iterator[Json]:
        delta, block = event["delta"], self._blocks.get(event["index"])
        if block is None:
            raise BadAnswerError("anthropic sent a delta for a block it never began")
        kind = delta["type"]
        if kind == "text_delta" and delta["text"]:
            yield self._chunk({"content": delta["text"]})
        elif kind == "thinking_delta" and delta["thinking"]:
            block.body["thinking"] = (block.body.get("thinking") or "") + delta["thinking"]
            yield self._chunk({"reasoning_content": delta["thinking"]})
        elif kind == "signature_delta":
            block.body["signature"] = (block.body.get("signature") or "") + delta["signature"]
        elif kind == "input_json_delta" and delta["partial_json"] and block.call is not None:
            block.streamed = True
            yield self._call(block, delta["partial_json"])

    def _block_stop(self, event: Json) -> Iterator[Json]:
        block = self._blocks.pop(event["index"], None)
        if block is None:
            return
        if block.call is not None and not block.streamed:
            # Arguments may come whole in content_block_start, and a tool without parameters gets no delta at all.
            yield self._call(block, orjson.dumps(block.body.get("input") or {}).decode())
        elif is_signed(block.body):
            yield self._chunk({"thinking_blocks": [block.body]})

    def _message_delta(self, event: Json) -> Iterator[Json]:
        self._stop |= {name: value for name, value in event["delta"].items() if value is not None}
        self._count(event.get("usage"))
        return iter(())

    def _message_stop(self, _event: Json) -> Iterator[Json]:
        self._ended = True
        reason = explanation(self._stop)
        if reason is not None:
            yield self._chunk({"refusal": reason})
        yield self._chunk({}, finish(self._stop))


_EVENTS: Final = {
    "message_start": "_message_start",
    "content_block_start": "_block_start",
    "content_block_delta": "_block_delta",
    "content_block_stop": "_block_stop",
    "message_delta": "_message_delta",
    "message_stop": "_message_stop",
}
