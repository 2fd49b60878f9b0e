"""Hugging Face, through its router for inference providers."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

PROVIDER = Provider(
    name="huggingface",
    base_url="https://router.huggingface.co/v1",
    wire=OPENAI_WIRE,
    key_env="HF_TOKEN",
    url_env="HUGGINGFACE_BASE_URL",
    renames={"max_completion_tokens": "max_tokens"},
    raw_key_prefixes=("hf_",),
    kinds=frozenset({Kind.CHAT}),
)
