"""OpenAI's chat stream, which is the inner one: its chunks as they are, the totals for who asks, and `[DONE]`."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from app.gateway import sse
from app.gateway.usage import to_openai
from app.gateway.wire import Json, Kind, Usage
from app.problems import Problem

KEEPALIVE = sse.comment("keep-alive")


class ChatFrames:
    """The events of a chat or legacy stream."""

    __slots__ = ("_asked", "_head", "_kind")

    def __init__(self, body: Json, kind: Kind) -> None:
        options = body.get("stream_options")
        self._asked = isinstance(options, dict) and options.get("include_usage") is True
        self._kind = kind
        self._head: Json = {}

    def chunks(self, chunks: Iterable[Json], usage: Usage | None) -> bytes:  # noqa: ARG002 (told at the end)
        """One event for each chunk."""
        frames = []
        for chunk in chunks:
            if not self._head:
                self._head = {k: v for k, v in chunk.items() if k not in {"choices", "usage"}}
            frames.append(sse.data({**chunk, "usage": None} if self._asked else chunk))
        return b"".join(frames)

    def end(self, usage: Usage) -> bytes:
        """The totals in a chunk of their own, only for who asked."""
        if not self._asked:
            return sse.DONE
        return sse.data({**self._head, "choices": [], "usage": to_openai(usage, self._kind)}) + sse.DONE

    def error(self, problem: Problem) -> bytes:
        """The frame clients raise on, and the end they wait for."""
        kind = "permission_error" if problem.status == HTTPStatus.FORBIDDEN else "api_error"
        return sse.error(problem.message, kind=kind, code=problem.code) + sse.DONE

    def quiet(self) -> bytes:
        """A comment."""
        return KEEPALIVE
