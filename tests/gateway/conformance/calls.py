"""Making a case's call the way the gateway does, and reading what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.gateway.providers import PROVIDERS
from app.gateway.wire import BadAnswerError, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    import requests

    from app.gateway.wire import Outgoing, Usage
    from tests.gateway.conformance.capabilities import Case
    from tests.gateway.conformance.upstream import Upstream

KEY = "test-key"


def target(case: Case, url: str) -> Target:
    """The provider moved to loopback, the path of its own base URL kept."""
    provider = PROVIDERS[case.provider]
    return Target(provider, url + urlsplit(provider.base_url).path, case.asked["model"], KEY)


def outgoing(case: Case, url: str, *, stream: bool) -> Outgoing:
    """The request for a case."""
    body = case.asked | ({"stream": True} if stream else {})
    return PROVIDERS[case.provider].wire.outgoing(case.kind, body, target(case, url))


def fetched(case: Case, upstream: Upstream, session: requests.Session) -> requests.Response:
    """The provider's plain response."""
    upstream.show(case)
    request = outgoing(case, upstream.url, stream=False)
    return session.post(request.url, data=request.body, headers=dict(request.headers), timeout=10)


@dataclass(slots=True)
class Heard:
    """A stream as decoded: its chunks, the counts reported, and how it broke, if it did."""

    chunks: list[dict[str, Any]]
    usage: Usage | None = None
    error: str | None = None


def streamed(case: Case, upstream: Upstream, session: requests.Session) -> Heard:
    """The provider's stream, decoded in the pieces in which it arrived."""
    upstream.show(case)
    request = outgoing(case, upstream.url, stream=True)
    with session.post(request.url, data=request.body, headers=dict(request.headers), timeout=10, stream=True) as answer:
        return heard(case, answer.iter_content(chunk_size=None))


def heard(case: Case, pieces: Iterable[bytes]) -> Heard:
    """A stream decoded from these pieces, up to its error."""
    decoder = PROVIDERS[case.provider].wire.decoder(case.kind, case.asked["model"])
    result = Heard([])
    try:
        for piece in pieces:
            result.chunks.extend(decoder.feed(piece))
        result.chunks.extend(decoder.end())
    except BadAnswerError as error:
        result.error = str(error)
    result.usage = decoder.usage
    return result


def shape(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choices without empty extras, tool arguments parsed: providers space their JSON differently when streaming."""
    return [_said(choice) for choice in choices]


def _said(choice: dict[str, Any]) -> dict[str, Any]:
    kept = {name: choice[name] for name in ("index", "finish_reason", "text", "message") if name in choice}
    if choice.get("logprobs"):
        kept["logprobs"] = choice["logprobs"]
    if "message" in kept:
        message = {name: value for name, value in kept["message"].items() if value is not None or name == "content"}
        if "tool_calls" in message:
            message["tool_calls"] = [_call(call) for call in message["tool_calls"]]
        kept["message"] = message
    return kept


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    rest = {name: value for name, value in call.items() if name not in {"index", "type"}}
    return rest | {"function": function | {"arguments": json.loads(function["arguments"])}}


def text(chunks: list[dict[str, Any]]) -> str:
    """All text the chunks say."""
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)
