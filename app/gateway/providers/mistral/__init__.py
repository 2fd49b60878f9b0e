"""Mistral AI."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

# Mistral refuses every field it does not know (422, extra_forbidden); its streams report usage unasked.
PROVIDER = Provider(
    name="mistral",
    base_url="https://api.mistral.ai/v1",
    wire=OPENAI_WIRE,
    key_env="MISTRAL_API_KEY",
    url_env="MISTRAL_BASE_URL",
    drops=frozenset({"logit_bias", "logprobs", "service_tier", "store", "stream_options", "top_logprobs", "user"}),
    renames={"seed": "random_seed", "max_completion_tokens": "max_tokens", "dimensions": "output_dimension"},
    prefixes=("mistral-", "open-mistral", "open-mixtral", "codestral", "pixtral", "ministral", "magistral", "devstral"),
    kinds=frozenset({Kind.CHAT, Kind.EMBEDDINGS}),
)
