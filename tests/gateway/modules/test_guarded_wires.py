"""Output filters on every wire: what a provider says in a form of its own leaves no way around them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.upstream import Upstream
from support.callers import Client

Json = dict[str, Any]
Traces = Callable[..., list[Json]]
MODEL = "claude-sonnet-4-5"
SECRET = "ghp_" + "Ab1" * 12
TURN = [{"role": "user", "content": "hello"}]
USAGE = {"input_tokens": 20, "output_tokens": 10}
THOUGHT = {"type": "thinking", "thinking": f"Their key is {SECRET}.", "signature": "c2lnbmVk"}
SAID = {"type": "text", "text": f"It is {SECRET}, I think."}
HEAD = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL}
WHOLE = {**HEAD, "content": [THOUGHT, SAID], "stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE}
THINKING = {"type": "enabled", "budget_tokens": 1024}
ASKED = {
    "/v1/messages": {"max_tokens": 2000, "messages": TURN, "thinking": THINKING},
    "/v1/responses": {"input": "hello", "include": ["reasoning.encrypted_content"]},
    "/v1/chat/completions": {"messages": TURN, "reasoning_effort": "low"},
}


def event(kind: str, **fields: Any) -> str:
    """One of Anthropic's events."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def streamed() -> list[str]:
    """The same message as a stream, both secrets cut in the middle."""
    pieces = [event("message_start", message=HEAD | {"content": [], "usage": USAGE})]
    for place, (block, grows) in enumerate(((THOUGHT, "thinking"), (SAID, "text"))):
        text = str(block[grows])
        half = text.index("ghp_") + 9
        begun = {"type": block["type"], grows: ""}
        pieces.append(event("content_block_start", index=place, content_block=begun))
        pieces += [
            event("content_block_delta", index=place, delta={"type": f"{grows}_delta", grows: part})
            for part in (text[:half], text[half:])
        ]
        if signed := block.get("signature"):
            delta = {"type": "signature_delta", "signature": signed}
            pieces.append(event("content_block_delta", index=place, delta=delta))
        pieces.append(event("content_block_stop", index=place))
    pieces.append(event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=USAGE))
    return [*pieces, event("message_stop")]


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_secret_leaves_in_no_form(
    client: Client,
    configure: Callable[..., None],
    upstream: Upstream,
    traces: Traces,
    path: str,
    stream: bool,
) -> None:
    """Neither in the text, nor in thoughts, nor in the blocks Anthropic's own clients would be given as they came."""
    configure("secretscan", patterns=["github_pat"])
    said = {"pieces": streamed(), "pause": 0} if stream else {"raw": json.dumps(WHOLE)}
    upstream.script(MODEL, said | {"type": "text/event-stream" if stream else "application/json"})
    answer = client.user.post(path, json={"model": MODEL, **ASKED[path], **({"stream": True} if stream else {})})
    assert answer.status_code == 200, answer.text
    assert "[REDACTED]" in answer.text
    (trace,) = traces(1)
    for place in (answer.text, json.dumps(trace, default=lambda held: bytes(held).decode())):
        assert SECRET[4:] not in place
        assert SECRET[9:] not in place
