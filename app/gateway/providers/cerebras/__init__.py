"""Cerebras: open models on its own chips."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

# Cerebras answers 400 to these.
PROVIDER = Provider(
    name="cerebras",
    base_url="https://api.cerebras.ai/v1",
    wire=OPENAI_WIRE,
    key_env="CEREBRAS_API_KEY",
    url_env="CEREBRAS_BASE_URL",
    drops=frozenset({"frequency_penalty", "logit_bias", "presence_penalty"}),
    raw_key_prefixes=("csk-",),
)
