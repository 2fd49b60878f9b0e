"""What the test provider says: OpenAI's shapes, whole and as the same answer's stream."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]
TEXT = "The train on track four is due at noon."
USAGE = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
VECTOR = [0.5, -0.25, 0.125, 1.0]


def sse(value: Any) -> bytes:
    """One event."""
    return b"data: %b\n\n" % (value if isinstance(value, bytes) else json.dumps(value).encode())


def calls(count: int) -> list[Json]:
    """That many tool calls."""
    function = {"name": "weather", "arguments": '{"city": "Bern"}'}
    return [{"id": f"call_{n}", "type": "function", "function": function} for n in range(count)]


def answer(step: Json, path: str, body: Json) -> bytes:
    """A whole answer of the path's kind."""
    model = step.get("model", body["model"])
    if path.endswith("/embeddings"):
        count = len(body["input"]) if isinstance(body["input"], list) else 1
        rows = [{"object": "embedding", "index": n, "embedding": step.get("vector", VECTOR)} for n in range(count)]
        made = {"object": "list", "data": rows, "model": model, "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    else:
        chat = path.endswith("/chat/completions")
        text, tools = step.get("text", TEXT), step.get("tools", 0)
        message: Json = {"role": "assistant", "content": None if tools else text}
        message |= {"tool_calls": calls(tools)} if tools else {}
        said = {"message": message} if chat else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": "tool_calls" if tools else "stop"}
        kind = "chat.completion" if chat else "text_completion"
        made = {"id": "cmpl-1", "object": kind, "created": 1_700_000_000, "model": model, "choices": [choice]}
        made["usage"] = USAGE
    made |= {"usage": step["usage"]} if "usage" in step else {}
    return json.dumps(made | step.get("body", {})).encode()


def frames(step: Json, path: str, body: Json) -> list[bytes]:
    """The same answer as a stream, word by word; usage only for who asked."""
    whole = json.loads(answer(step, path, body))
    chat = path.endswith("/chat/completions")
    head = {k: whole[k] for k in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk" if chat else "text_completion"
    choice = whole["choices"][0] if whole["choices"] else {}
    made = [_frame(head, part) for part in (_deltas(choice) if chat else _texts(choice))]
    if choice:
        made.append(_frame(head, {"delta": {}} if chat else {"text": ""}, choice["finish_reason"]))
    if whole.get("usage") and (body.get("stream_options") or {}).get("include_usage"):
        made.append(sse({**head, "choices": [], "usage": whole["usage"]}))
    return [*made, sse(b"[DONE]")]


def _frame(head: Json, said: Json, finish: str | None = None) -> bytes:
    return sse({**head, "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": finish}]})


def _texts(choice: Json) -> list[Json]:
    return [{"text": word + " "} for word in choice["text"].split()] if choice else []


def _deltas(choice: Json) -> list[Json]:
    if not choice:
        return []
    said: list[Json] = [{"role": "assistant", "content": None if choice["message"].get("tool_calls") else ""}]
    said += [{"content": word} for word in words(choice["message"]["content"] or "")]
    for n, call in enumerate(choice["message"].get("tool_calls", ())):
        function = call["function"]
        said.append({"tool_calls": [{"index": n, **call, "function": {**function, "arguments": ""}}]})
        said += [{"tool_calls": [{"index": n, "function": {"arguments": c}}]} for c in function["arguments"]]
    return [{"delta": delta} for delta in said]


def words(text: str) -> list[str]:
    """The text in pieces that join to it again."""
    found = text.split(" ")
    return [word if n == 0 else f" {word}" for n, word in enumerate(found)] if text else []
