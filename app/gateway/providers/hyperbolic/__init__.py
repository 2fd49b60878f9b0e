"""Hyperbolic: open models."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="hyperbolic",
    base_url="https://api.hyperbolic.xyz/v1",
    wire=OPENAI_WIRE,
    key_env="HYPERBOLIC_API_KEY",
    url_env="HYPERBOLIC_BASE_URL",
    renames={"max_completion_tokens": "max_tokens"},
)
