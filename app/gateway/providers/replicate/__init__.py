"""Replicate, through its OpenAI proxy."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

PROVIDER = Provider(
    name="replicate",
    base_url="https://openai-proxy.replicate.com/v1",
    wire=OPENAI_WIRE,
    key_env="REPLICATE_API_TOKEN",
    url_env="REPLICATE_BASE_URL",
    raw_key_prefixes=("r8_",),
    kinds=frozenset({Kind.CHAT}),
)
