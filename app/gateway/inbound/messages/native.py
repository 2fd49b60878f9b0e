"""Anthropic in front and Anthropic behind: nothing is lost between them, and every module has its say all the same.

What was asked goes out as it came unless something in the lane changed its chat form; what was answered is kept beside
its chat form, block by block, and shown as long as the two agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import orjson

from app.gateway.inbound.messages.request import chat_of
from app.gateway.providers.anthropic.stream import AnthropicDecoder
from app.gateway.providers.anthropic.wire import AnthropicWire, request_headers
from app.gateway.providers.openai.wire import NEVER_FORWARDED
from app.gateway.wire import Answer, Decoder, Json, Kind, Outgoing, Target

BLOCKS, TOLD = "anthropic_blocks", "anthropic"
_HEAD: Final = frozenset({"id", "type", "role", "model", "content"})
_OF_A_CALL: Final = frozenset({"type", "id", "name", "input"})


class NativeWire(AnthropicWire):
    """Anthropic's wire for one call that came on it."""

    def __init__(self, asked: Json, betas: list[str]) -> None:
        self._asked = asked
        self._betas = betas

    def outgoing(self, kind: Kind, body: Json, target: Target) -> Outgoing:
        """The request as it was asked, to the target's model; through its chat form when that was changed."""
        if chat_of(self._asked, self._betas) != body:
            return super().outgoing(kind, body, target)
        sent = {name: value for name, value in self._asked.items() if name not in NEVER_FORWARDED}
        sent |= {
            "model": target.model,
            "messages": [said for m in self._asked["messages"] if (said := _signed(m))["content"]],
        }
        url = f"{target.base_url.rstrip('/')}/v1/messages"
        return Outgoing(url, request_headers(body, target), orjson.dumps(sent))

    def answer(self, kind: Kind, raw: bytes, model: str) -> Answer:
        """The message in chat, and beside it the message itself."""
        answer = super().answer(kind, raw, model)
        whole = orjson.loads(raw)
        choice = answer.body["choices"][0]
        choice["message"][BLOCKS] = whole["content"]
        choice[TOLD] = {name: value for name, value in whole.items() if name not in _HEAD}
        return answer

    def decoder(self, kind: Kind, model: str) -> Decoder:  # noqa: ARG002 (messages are always chat)
        """A decoder that keeps the blocks."""
        return NativeDecoder(model)


def _signed(message: Json) -> Json:
    """The turn without thinking that Anthropic never signed, another provider's, which it would refuse."""
    content = message["content"]
    if isinstance(content, str) or not any(map(_unsigned, content)):
        return message
    return message | {"content": [block for block in content if not _unsigned(block)]}


def _unsigned(block: Json) -> bool:
    return block["type"] == "thinking" and not block.get("signature")


class NativeDecoder(AnthropicDecoder):
    """Anthropic's stream in chat, each block following whole after its deltas."""

    __slots__ = ("_told", "_whole")

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._whole: dict[int, _Whole] = {}
        self._told: Json = {}

    def _message_start(self, event: Json) -> Iterator[Json]:
        self._told = {name: value for name, value in event["message"].items() if name not in _HEAD}
        for chunk in super()._message_start(event):
            chunk["choices"][0][TOLD] = self._told
            yield chunk

    def _block_start(self, event: Json) -> Iterator[Json]:
        started = event["content_block"]
        self._whole[event["index"]] = _Whole(started)
        extra = of_a_call(started)
        for chunk in super()._block_start(event):
            for call in chunk["choices"][0]["delta"].get("tool_calls", ()) if extra else ():
                call[TOLD] = extra
            yield chunk

    def _block_delta(self, event: Json) -> Iterator[Json]:
        if whole := self._whole.get(event["index"]):
            whole.add(event["delta"])
        return super()._block_delta(event)

    def _block_stop(self, event: Json) -> Iterator[Json]:
        yield from super()._block_stop(event)
        if whole := self._whole.pop(event["index"], None):
            yield self._chunk({BLOCKS: [whole.block()]})

    def _message_delta(self, event: Json) -> Iterator[Json]:
        self._told |= {name: value for name, value in event.items() if name not in {"type", "delta", "usage"}}
        return super()._message_delta(event)

    def _message_stop(self, event: Json) -> Iterator[Json]:
        for chunk in super()._message_stop(event):
            choice = chunk["choices"][0]
            if choice["finish_reason"]:  # why Anthropic refused is told there, not said
                choice[TOLD] = self._told | self._stop | {"usage": self._usage}
                yield chunk


def of_a_call(block: Json) -> Json:
    """What Anthropic tells of a tool call besides its name and its input."""
    return {name: value for name, value in block.items() if name not in _OF_A_CALL}


class _Whole:
    """One content block, put together from its deltas as Anthropic's own clients do."""

    __slots__ = ("_arguments", "_body", "_texts")

    def __init__(self, body: Json) -> None:
        self._body = dict(body)
        self._texts: dict[str, list[str]] = {}
        self._arguments: list[str] = []

    def add(self, delta: Json) -> None:
        """Take one delta in; those of a kind not known here are left to the chat form."""
        kind = delta["type"]
        if kind == "input_json_delta":
            self._arguments.append(delta["partial_json"])
        elif kind == "citations_delta":
            self._body["citations"] = [*(self._body.get("citations") or ()), delta["citation"]]
        elif name := _GROWS.get(kind):
            self._texts.setdefault(name, []).append(delta[name])

    def block(self) -> Json:
        """The block as an answer without streaming has it."""
        grown = {name: (self._body.get(name) or "") + "".join(texts) for name, texts in self._texts.items()}
        return self._body | grown | ({"input": _read("".join(self._arguments))} if any(self._arguments) else {})


_GROWS: Final = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def _read(arguments: str) -> Any:
    """The input of a tool; cut short, it is shown the way Anthropic shows what is no JSON."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {"INVALID_JSON": arguments}


if TYPE_CHECKING:
    _: type[Decoder] = NativeDecoder
