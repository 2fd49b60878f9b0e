"""The request each family of providers must get, whole or streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.gateway.providers import PROVIDERS
from app.gateway.wire import Kind
from tests.gateway.conformance.calls import KEY
from tests.gateway.conformance.capabilities import FAMILIES

if TYPE_CHECKING:
    from tests.gateway.conformance.capabilities import Case

Request = tuple[str, dict[str, str], dict[str, Any]]

_PATHS = {Kind.CHAT: "/chat/completions", Kind.COMPLETIONS: "/completions", Kind.EMBEDDINGS: "/embeddings"}


def expected_request(case: Case, *, stream: bool) -> Request:
    """Path, headers and body; the streamed request differs from the whole one only as the provider documents."""
    sent = case.sent
    if sent is None:
        return _like_openai(case, stream=stream)
    path, body = sent["path"], sent["body"]
    if stream and FAMILIES[case.provider] == "gemini":
        path = path.replace(":generateContent", ":streamGenerateContent?alt=sse")
    elif stream:
        body = body | {"stream": True}
    return path, sent["headers"], body


def _like_openai(case: Case, *, stream: bool) -> Request:
    """The caller's own body, in the provider's names and without what it refuses; streams ask for usage."""
    provider = PROVIDERS[case.provider]
    body = case.asked | ({"stream": True} if stream else {})
    if stream:
        body["stream_options"] = {"include_usage": True}
    kept = {provider.renames.get(name, name): value for name, value in body.items() if name not in provider.drops}
    bearer = KEY if provider.auth_header != "authorization" else f"Bearer {KEY}"
    headers = {provider.auth_header: bearer, "content-type": "application/json"}
    return urlsplit(provider.base_url).path + _PATHS[case.kind], headers, kept
