"""Voyage AI: embeddings."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

# Voyage calls the length of a vector `output_dimension`.
PROVIDER = Provider(
    name="voyage",
    base_url="https://api.voyageai.com/v1",
    wire=OPENAI_WIRE,
    key_env="VOYAGE_API_KEY",
    url_env="VOYAGE_BASE_URL",
    renames={"dimensions": "output_dimension"},
    prefixes=("voyage-",),
    kinds=frozenset({Kind.EMBEDDINGS}),
)
