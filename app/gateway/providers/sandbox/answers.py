"""The sandbox's answers in OpenAI's shapes: whole, or as the chunks that add up to the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app.gateway.providers.sandbox.replies import RefusedError, Reply, fingerprint, pieces, replies, tokens_in, whole
from app.gateway.providers.sandbox.vectors import encoded, vector
from app.gateway.usage import to_openai
from app.gateway.wire import Kind, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.gateway.wire import Json

DIMENSIONS: Final = 1536
MOST_DIMENSIONS: Final = 65_536
# Numbers in all vectors of one answer: 2,048 inputs of 2,048 dimensions each.
MOST_NUMBERS: Final = 4_194_304
MOST_INPUTS: Final = 2048

# The moment of every answer, so that the same request gets the same bytes: 2024-01-01T00:00:00Z.
CREATED: Final = 1_704_067_200

_IDS: Final = {Kind.CHAT: "chatcmpl-sandbox-", Kind.COMPLETIONS: "cmpl-sandbox-"}


def answer(kind: Kind, body: Json) -> Json:
    """The whole answer; RefusedError when the request cannot be served."""
    if kind is Kind.EMBEDDINGS:
        return _embeddings(body)
    made = replies(kind, body)
    choice = _message if kind is Kind.CHAT else _text
    name = "chat.completion" if kind is Kind.CHAT else "text_completion"
    choices = [choice(index, reply) for index, reply in enumerate(made)]
    return {**_head(kind, body, name), "choices": choices, "usage": to_openai(_usage(body, made), kind)}


def chunks(kind: Kind, body: Json) -> Iterator[Json]:
    """The same answer in pieces, the last holding the usage where `stream_options` ask for it."""
    made = replies(kind, body)
    head = _head(kind, body, "chat.completion.chunk" if kind is Kind.CHAT else "text_completion")
    options = body.get("stream_options")
    counted = isinstance(options, dict) and bool(options.get("include_usage"))
    tail: Json = {"usage": None} if counted else {}
    parts = _deltas if kind is Kind.CHAT else _texts
    for index, reply in enumerate(made):
        for part, finish in parts(reply):
            yield {**head, "choices": [{"index": index, **part, "logprobs": None, "finish_reason": finish}], **tail}
    if counted:
        yield {**head, "choices": [], "usage": to_openai(_usage(body, made), kind)}


def _head(kind: Kind, body: Json, name: str) -> Json:
    asked = {key: value for key, value in body.items() if key not in {"stream", "stream_options"}}
    return {"id": _IDS[kind] + fingerprint(asked), "object": name, "created": CREATED, "model": body.get("model")}


def _usage(body: Json, made: list[Reply]) -> Usage:
    return Usage(input=tokens_in(body), output=sum(reply.tokens for reply in made))


def _message(index: int, reply: Reply) -> Json:
    message: Json = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.calls
        ]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": reply.finish}


def _text(index: int, reply: Reply) -> Json:
    return {"index": index, "text": reply.text, "logprobs": None, "finish_reason": reply.finish}


def _deltas(reply: Reply) -> Iterator[tuple[Json, str | None]]:
    """The deltas of one choice: the role, the content or the calls a piece at a time, the end."""
    first = None if reply.text is None else ""
    yield {"delta": {"role": "assistant", "content": first, "refusal": None}}, None
    for piece in pieces(reply.text or ""):
        yield {"delta": {"content": piece}}, None
    for place, call in enumerate(reply.calls):
        opening = {"index": place, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield {"delta": {"tool_calls": [opening]}}, None
        for piece in pieces(call.arguments):
            yield {"delta": {"tool_calls": [{"index": place, "function": {"arguments": piece}}]}}, None
    yield {"delta": {}}, reply.finish


def _texts(reply: Reply) -> Iterator[tuple[Json, str | None]]:
    for piece in pieces(reply.text or ""):
        yield {"text": piece}, None
    yield {"text": ""}, reply.finish


def _embeddings(body: Json) -> Json:
    """One vector for each input: a text, a list of texts, token ids, or a list of those."""
    dimensions = whole(body, "dimensions", 1, MOST_DIMENSIONS) or DIMENSIONS
    texts = _inputs(body.get("input"))
    if dimensions * len(texts) > MOST_NUMBERS:
        raise RefusedError(f"'dimensions' times inputs must be at most {MOST_NUMBERS}", "dimensions")
    encoding = body.get("encoding_format")
    rows = [
        {"object": "embedding", "index": index, "embedding": encoded(vector(text, dimensions), encoding)}
        for index, text in enumerate(texts)
    ]
    usage = to_openai(Usage(input=tokens_in(body)), Kind.EMBEDDINGS)
    return {"object": "list", "data": rows, "model": body.get("model"), "usage": usage}


def _inputs(given: Any) -> list[str]:
    many = isinstance(given, list) and bool(given) and isinstance(given[0], str | list)
    inputs = given if isinstance(given, list) and many else [given]
    if len(inputs) > MOST_INPUTS or not all(isinstance(one, str | list) and one for one in inputs):
        raise RefusedError(f"'input' must be texts or token ids, at most {MOST_INPUTS} and none empty", "input")
    return [one if isinstance(one, str) else " ".join(map(str, one)) for one in inputs]
