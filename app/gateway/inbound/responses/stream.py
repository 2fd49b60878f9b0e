"""Chat chunks as the events of a response, numbered, from `response.created` to `response.completed`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from app.gateway import sse
from app.gateway.inbound.chat import KEEPALIVE
from app.gateway.inbound.responses.answer import CUT, Told, begun_item, finished, item, item_id, part, unfinished
from app.gateway.inbound.sequence import CALL, REFUSAL, THINKING, Block, Sequencer
from app.gateway.wire import Json, Usage
from app.problems import Problem

TOO_MANY: Final = 429
_GROWS: Final = {
    CALL: "response.function_call_arguments.delta",
    THINKING: "response.reasoning_summary_text.delta",
    REFUSAL: "response.refusal.delta",
}
_TEXT: Final = "response.output_text.delta"


class ResponseFrames:
    """The events of one response."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._sequence = Sequencer(self)
        self._events: list[bytes] = []
        self._number = 0
        self._model = ""
        self._output: list[Json] = []
        self._thinking: list[Json] = []
        self._likely: list[Any] = []
        self._new_likely: list[Any] = []
        self._finish: str | None = None
        self._ending = False

    def chunks(self, chunks: Iterable[Json], usage: Usage | None) -> bytes:  # noqa: ARG002 (told at the end)
        """The events of these chunks."""
        for chunk in chunks:
            if not self._model:
                self._start(chunk["model"])
            for choice in chunk["choices"]:
                if choice.get("index", 0) == 0:
                    self._choice(choice)
        return self._sent()

    def end(self, usage: Usage) -> bytes:
        """The last items, and the whole response."""
        self._ending = True
        self._sequence.end()
        kind = "response.incomplete" if self._finish in CUT else "response.completed"
        self._send(kind, response=finished(self._told, self._model, self._output, self._finish, usage))
        return self._sent()

    def error(self, problem: Problem) -> bytes:
        """The failed response, and after it the event that OpenAI's clients raise on."""
        code = "rate_limit_exceeded" if problem.status == TOO_MANY else "server_error"
        failed = {"status": "failed", "error": {"code": code, "message": problem.message}, "usage": None}
        state = self._told.head(self._model) | failed | {"output": self._output, "incomplete_details": None}
        self._send("response.failed", response=state)
        said = {"message": problem.message, "code": problem.code, "param": None}
        self._send("error", **said, error={"type": "api_error", **said})
        return self._sent()

    def quiet(self) -> bytes:
        """A comment."""
        return KEEPALIVE

    def begin(self, block: Block) -> None:
        """An item is added, and what it will hold."""
        self._send("response.output_item.added", **self._place(), item=begun_item(self._told, block, self._index))
        if block.kind == THINKING:
            empty = {"type": "summary_text", "text": ""}
            self._tell("response.reasoning_summary_part.added", block, summary_index=0, part=empty)
        elif block.kind != CALL:
            self._tell("response.content_part.added", block, content_index=0, part=part(Block(block.kind), []))

    def piece(self, block: Block, text: str) -> None:
        """It grew."""
        kind = _GROWS.get(block.kind, _TEXT)
        likely, self._new_likely = self._new_likely, []
        extra = {"logprobs": likely} if kind == _TEXT else {}
        self._tell(kind, block, delta=text, **_inside(block), **extra)

    def finish(self, block: Block) -> None:
        """It is whole; thinking takes its signature with it."""
        made = item(self._told, block, self._index, thinking=self._taken(block), likely=self._likely)
        if block.kind == CALL:
            told = {"name": block.name, "arguments": made["arguments"]}
            self._tell("response.function_call_arguments.done", block, **told)
        elif block.kind == THINKING:
            self._finish_thinking(block)
        else:
            self._finish_words(block, made["content"][0])
        if self._ending and self._finish in CUT:
            made |= unfinished(made)
        self._send("response.output_item.done", **self._place(), item=made)
        self._output.append(made)

    def _finish_thinking(self, block: Block) -> None:
        self._tell("response.reasoning_summary_text.done", block, summary_index=0, text=block.text)
        whole = {"type": "summary_text", "text": block.text}
        self._tell("response.reasoning_summary_part.done", block, summary_index=0, part=whole)

    def _finish_words(self, block: Block, said: Json) -> None:
        if block.kind == REFUSAL:
            self._tell("response.refusal.done", block, content_index=0, refusal=block.text)
        else:
            words = {"text": block.text, "logprobs": said["logprobs"]}
            self._tell("response.output_text.done", block, content_index=0, **words)
        self._tell("response.content_part.done", block, content_index=0, part=said)

    def _taken(self, block: Block) -> list[Json]:
        if block.kind != THINKING:
            return []
        thinking, self._thinking = self._thinking, []
        return thinking

    def _start(self, model: str) -> None:
        self._model = model
        open_end: Json = {
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }
        for kind in ("response.created", "response.in_progress"):
            self._send(kind, response=self._told.head(model) | open_end)

    def _choice(self, choice: Json) -> None:
        self._new_likely = list((choice.get("logprobs") or {}).get("content") or ())
        self._likely += self._new_likely
        delta = choice.get("delta") or {}
        signed = delta.get("thinking_blocks") or [] if self._told.seals else []
        if signed and delta.get("reasoning_content"):  # from the cache: a whole message at once
            self._thinking += signed
        elif signed:
            self._sign(signed)
        self._sequence.take(delta)
        self._finish = choice.get("finish_reason") or self._finish

    def _sign(self, signed: list[Json]) -> None:
        """The signature of the thinking just said, or of thinking that is not shown."""
        self._thinking += signed
        if self._sequence.open is None or self._sequence.open.kind != THINKING:
            self._sequence.close()
            hidden = item(self._told, Block(THINKING), self._index, thinking=self._taken(Block(THINKING)))
            self._send("response.output_item.added", **self._place(), item=hidden | {"encrypted_content": None})
            self._send("response.output_item.done", **self._place(), item=hidden)
            self._output.append(hidden)

    @property
    def _index(self) -> int:
        return len(self._output)

    def _place(self) -> Json:
        return {"output_index": self._index}

    def _tell(self, kind: str, block: Block, **fields: Any) -> None:
        self._send(kind, item_id=item_id(self._told, block, self._index), **self._place(), **fields)

    def _send(self, kind: str, **fields: Any) -> None:
        self._events.append(sse.event(kind, {"type": kind, "sequence_number": self._number, **fields}))
        self._number += 1

    def _sent(self) -> bytes:
        sent, self._events = b"".join(self._events), []
        return sent


def _inside(block: Block) -> Json:
    """Where in its item a delta belongs; a call has one place only."""
    if block.kind == CALL:
        return {}
    return {"summary_index": 0} if block.kind == THINKING else {"content_index": 0}
