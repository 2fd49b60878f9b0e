"""Chat chunks as Anthropic's events, from `message_start` to `message_stop`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import orjson

from app.gateway import sse
from app.gateway.inbound.messages.answer import begun, counts, ending, message_id, native
from app.gateway.inbound.messages.native import BLOCKS, TOLD, of_a_call
from app.gateway.inbound.sequence import CALL, THINKING, Block, Sequencer, blocks_of
from app.gateway.wire import Json, Usage
from app.problems import Problem
from app.wire.dialects import anthropic

PING: Final = sse.event("ping", {"type": "ping"})
_DELTAS: Final = {THINKING: ("thinking_delta", "thinking"), CALL: ("input_json_delta", "partial_json")}
_TEXT: Final = ("text_delta", "text")
# Blocks whose words come as deltas; every other one is shown whole.
_GROWN: Final = {"text": "text", "thinking": THINKING, "tool_use": CALL}


class MessageFrames:
    """The events of one message."""

    def __init__(self, own_id: str, stops: Iterable[str], request_id: str) -> None:
        self._own_id, self._stops, self._request_id = own_id, stops, request_id
        self._sequence = Sequencer(self)
        self._events: list[bytes] = []
        self._begun = False
        self._index = -1
        self._called = False
        self._last: Json = {}

    def chunks(self, chunks: Iterable[Json], usage: Usage | None) -> bytes:
        """The events of these chunks."""
        for chunk in chunks:
            if not self._begun:
                self._start(chunk, usage)
            for choice in chunk["choices"]:
                if choice.get("index", 0) == 0:
                    self._choice(choice)
        return self._sent()

    def end(self, usage: Usage) -> bytes:
        """Why it ended, and the counts."""
        self._sequence.end()
        ended = ending(self._last, self._stops, called=self._called)
        told = self._last.get(TOLD) or {}
        delta = {name: value for name, value in told.items() if name in {"stop_details", "container"}} | ended
        rest = {name: value for name, value in told.items() if name == "context_management"}
        self._send("message_delta", delta=delta, usage=counts(usage, told.get("usage")), **rest)
        self._send("message_stop")
        return self._sent()

    def error(self, problem: Problem) -> bytes:
        """What Anthropic's clients raise on."""
        said = anthropic(problem, self._request_id)
        return self._sent() + sse.event("error", said)

    def quiet(self) -> bytes:
        """Anthropic's own sign of life."""
        return PING

    def begin(self, block: Block) -> None:
        """A block began."""
        self._index += 1
        self._called = self._called or block.kind == CALL
        self._send("content_block_start", index=self._index, content_block=begun(block))

    def piece(self, block: Block, text: str) -> None:
        """It grew."""
        kind, name = _DELTAS.get(block.kind, _TEXT)
        self._send("content_block_delta", index=self._index, delta={"type": kind, name: text})

    def finish(self, block: Block) -> None:  # noqa: ARG002 (events know it by its index)
        """It is whole."""
        self._send("content_block_stop", index=self._index)

    def _start(self, chunk: Json, usage: Usage | None) -> None:
        """Counts that are not known yet are nought; `message_delta` tells them."""
        self._begun = True
        told = dict(next((choice.get(TOLD) or {} for choice in chunk["choices"]), {}))
        counted = counts(usage or Usage(), told.pop("usage", None))
        head = {"id": message_id(chunk["id"], self._own_id), "type": "message", "role": "assistant"}
        open_end: Json = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": counted}
        self._send("message_start", message={**told, **head, "model": chunk["model"], **open_end})

    def _choice(self, choice: Json) -> None:
        delta = choice.get("delta") or {}
        blocks: list[Json] = delta.get(BLOCKS) or []
        if blocks and "content" in delta:
            self._whole_message(delta)
        else:
            self._sequence.take(delta)
            for block in blocks:
                self._native(block)
        if choice.get("finish_reason") or choice.get("stop_reason"):
            self._last = {name: value for name, value in choice.items() if name != "delta"}

    def _whole_message(self, said: Json) -> None:
        """An answer from the cache, whose order is that of its own blocks."""
        blocks = native(said, blocks_of(said))
        if blocks is None:
            self._sequence.take(said)
        for place, block in enumerate(blocks or ()):
            self._sequence.take(_delta(block, place))
            self._native(block)

    def _native(self, block: Json) -> None:
        """Where Anthropic ended a block, and what its chat form could not say: a signature, citations, other kinds."""
        kind, grown = _GROWN.get(block["type"]), self._sequence.open
        if kind is None or (kind == THINKING and (grown is None or grown.kind != THINKING)):
            self._whole(block)
        elif grown is not None and grown.kind == kind:
            for delta in _unsaid(block):
                self._send("content_block_delta", index=self._index, delta=delta)
            self._sequence.close()

    def _whole(self, block: Json) -> None:
        self._sequence.close()
        self._index += 1
        self._send("content_block_start", index=self._index, content_block=block)
        self._send("content_block_stop", index=self._index)

    def _send(self, kind: str, **fields: object) -> None:
        self._events.append(sse.event(kind, {"type": kind, **fields}))

    def _sent(self) -> bytes:
        sent, self._events = b"".join(self._events), []
        return sent


def _delta(block: Json, place: int) -> Json:
    """The delta that says the words of a whole block."""
    if block["type"] == "tool_use":
        function = {"name": block["name"], "arguments": orjson.dumps(block.get("input") or {}).decode()}
        return {"tool_calls": [{"index": place, "id": block["id"], "function": function, TOLD: of_a_call(block)}]}
    if block["type"] == "thinking":
        return {"reasoning_content": block.get("thinking")}
    return {"content": block["text"]} if block["type"] == "text" else {}


def _unsaid(block: Json) -> list[Json]:
    said: list[Json] = [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
    if block.get("signature"):
        said.append({"type": "signature_delta", "signature": block["signature"]})
    return said
