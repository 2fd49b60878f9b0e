"""Perplexity: models that search."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

PROVIDER = Provider(
    name="perplexity",
    base_url="https://api.perplexity.ai",
    wire=OPENAI_WIRE,
    key_env="PERPLEXITY_API_KEY",
    url_env="PERPLEXITY_BASE_URL",
    renames={"max_completion_tokens": "max_tokens"},
    prefixes=("sonar",),
    raw_key_prefixes=("pplx-",),
    kinds=frozenset({Kind.CHAT}),
)
