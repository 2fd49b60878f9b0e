"""Jina AI: embeddings."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

PROVIDER = Provider(
    name="jina",
    base_url="https://api.jina.ai/v1",
    wire=OPENAI_WIRE,
    key_env="JINA_API_KEY",
    url_env="JINA_BASE_URL",
    prefixes=("jina-",),
    kinds=frozenset({Kind.EMBEDDINGS}),
)
