"""OpenAI's chat shapes, built from the parts a foreign wire has decoded."""

from __future__ import annotations

import base64
import struct
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from app.gateway.usage import estimate_output, to_openai
from app.gateway.wire import Answer, BadAnswerError, Kind, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.gateway.wire import Json


@dataclass(frozen=True, slots=True)
class Head:
    """What every chunk of one answer repeats: its id, its model and when it began (Unix seconds)."""

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))

    def chunk(self, index: int, delta: Json, finish: str | None = None, logprobs: Json | None = None) -> Json:
        """One `chat.completion.chunk` of one choice."""
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [choice],
        }

    def answer(self, choices: list[Json], usage: Usage | None) -> Answer:
        """The whole `chat.completion`; without a reported usage its output is estimated."""
        body: Json = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }
        counted = usage or Usage(output=estimate_output(body), reported=False)
        return Answer({**body, "usage": to_openai(counted)}, counted)


def fresh_id() -> str:
    """An answer id of our own, for providers that give none."""
    return f"chatcmpl-{uuid4().hex}"


def tool_call(call_id: str, name: str, arguments: Any, **extra: Any) -> Json:
    """A finished tool call; arguments that are not yet text become compact JSON."""
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}, **extra}


def message(text: str, calls: list[Json], reasoning: str = "", refusal: str | None = None) -> Json:
    """The assistant's message; what the model did not say is absent, content is null when it said nothing."""
    said: Json = {"role": "assistant", "content": text or None}
    if reasoning:
        said["reasoning_content"] = reasoning
    if refusal:
        said["refusal"] = refusal
    if calls:
        said["tool_calls"] = calls
    return said


def parsed(raw: bytes, provider: str) -> Json:
    """A JSON object from a 2xx body; BadAnswerError for HTML, cut JSON, or anything else."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BadAnswerError(f"{provider} answered with something that is not JSON") from None
    if not isinstance(body, dict):
        raise BadAnswerError(f"{provider} answered with JSON that is no object")
    return body


@contextmanager
def understood(provider: str) -> Iterator[None]:
    """Reading a provider's JSON: what breaks the reader becomes BadAnswerError, for the fault is not the caller's."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"{provider} answered in a shape that is not its own") from error


def embedding_list(vectors: list[list[float]], model: str, usage: Usage) -> Json:
    """OpenAI's embeddings answer, vectors in the order of the inputs."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": model, "usage": to_openai(usage, Kind.EMBEDDINGS)}


def encoded(body: Json, encoding_format: str | None) -> Json:
    """An embeddings answer with each vector in the asked encoding: base64 of little-endian float32, or numbers.

    Wires answer with whatever the provider sent; this is applied once the caller's `encoding_format` is known.
    """
    if encoding_format != "base64":
        return body
    return {**body, "data": [{**row, "embedding": _base64(row["embedding"])} for row in body["data"]]}


def _base64(vector: Any) -> str:
    if isinstance(vector, str):
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
