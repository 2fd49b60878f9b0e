"""Cohere, through its compatibility API."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

PROVIDER = Provider(
    name="cohere",
    base_url="https://api.cohere.com/compatibility/v1",
    wire=OPENAI_WIRE,
    key_env="COHERE_API_KEY",
    url_env="COHERE_BASE_URL",
    renames={"max_completion_tokens": "max_tokens"},
    prefixes=("command-",),
    kinds=frozenset({Kind.CHAT, Kind.EMBEDDINGS}),
)
