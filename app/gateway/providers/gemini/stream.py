"""A Gemini stream, each frame a whole response, as OpenAI chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from app.gateway.chat_response import understood
from app.gateway.providers.gemini.answer import (
    block_reason,
    finish,
    head_of,
    read_logprobs,
    read_parts,
    read_usage,
)
from app.gateway.providers.openai.errors import complaint
from app.gateway.sse import Parser
from app.gateway.wire import BadAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.gateway.chat_response import Head
    from app.gateway.wire import Json, Usage


@dataclass(slots=True)
class _Candidate:
    """How far one candidate has come."""

    calls: int = 0
    finish: str | None = None


class GeminiDecoder:
    """One streamGenerateContent stream; finish reasons are held to the end, for a frame may still follow one."""

    __slots__ = ("_blocked", "_candidates", "_head", "_model", "_sse", "_usage")

    def __init__(self, model: str) -> None:
        self._sse = Parser()
        self._model = model
        self._head: Head | None = None
        self._candidates: dict[int, _Candidate] = {}
        self._usage: Json | None = None
        self._blocked: str | None = None

    @property
    def usage(self) -> Usage | None:
        """The counts of the latest frame that gave any."""
        return None if self._usage is None else read_usage(self._usage)

    def feed(self, data: bytes) -> Iterator[Json]:
        """The chunks completed by these bytes, those before an error included."""
        with understood("gemini"):
            for _, text in self._sse.feed(data):
                yield from self._frame(text)

    def end(self) -> Iterator[Json]:
        """One last chunk per choice with its finish reason; BadAnswerError when a candidate never finished."""
        with understood("gemini"):
            for _, text in self._sse.end():
                yield from self._frame(text)
        yield from self._finish()

    def _frame(self, text: bytes) -> Iterator[Json]:
        frame = orjson.loads(text)
        if isinstance(frame, list) or "error" in frame:
            raise BadAnswerError(complaint(frame).message)
        if self._head is None:
            self._head = head_of(frame, self._model)
        if frame.get("usageMetadata"):
            self._usage = (self._usage or {}) | frame["usageMetadata"]
        self._blocked = self._blocked or block_reason(frame)
        for candidate in frame.get("candidates") or []:
            yield from self._candidate(candidate, self._head)

    def _candidate(self, body: Json, head: Head) -> Iterator[Json]:
        index = body.get("index", 0)
        known = self._candidates.get(index)
        if known is None:
            known = self._candidates[index] = _Candidate()
            yield head.chunk(index, {"role": "assistant", "content": None})
        said = read_parts(body, head.id, known.calls)
        if said.reasoning:
            yield head.chunk(index, {"reasoning_content": said.reasoning})
        if said.text or body.get("logprobsResult"):
            yield head.chunk(index, {"content": said.text}, logprobs=read_logprobs(body))
        if said.calls:
            calls = [{"index": known.calls + place, **call} for place, call in enumerate(said.calls)]
            known.calls += len(calls)
            yield head.chunk(index, {"tool_calls": calls})
        known.finish = body.get("finishReason") or known.finish

    def _finish(self) -> Iterator[Json]:
        if self._head is None or (not self._candidates and not self._blocked):
            raise BadAnswerError("gemini's stream ended without an answer")
        if not self._candidates:
            yield self._head.chunk(0, {"role": "assistant", "content": None, "refusal": self._blocked})
            yield self._head.chunk(0, {}, "content_filter")
        for index, candidate in self._candidates.items():
            if candidate.finish is None:
                raise BadAnswerError("gemini's stream was cut before its end")
            yield self._head.chunk(index, {}, finish(candidate.finish, called=candidate.calls > 0))
