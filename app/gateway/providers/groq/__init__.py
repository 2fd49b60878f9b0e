"""Groq: open models on its own chips."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

# Groq answers 400 to these, and has neither legacy completions nor embeddings (console.groq.com/docs/openai).
PROVIDER = Provider(
    name="groq",
    base_url="https://api.groq.com/openai/v1",
    wire=OPENAI_WIRE,
    key_env="GROQ_API_KEY",
    url_env="GROQ_BASE_URL",
    timeout=10.0,
    drops=frozenset({"logit_bias", "logprobs", "top_logprobs"}),
    prefixes=("llama-", "mixtral-", "gemma"),
    raw_key_prefixes=("gsk_",),
    kinds=frozenset({Kind.CHAT}),
)
