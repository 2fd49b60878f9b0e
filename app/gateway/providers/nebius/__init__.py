"""Nebius AI Studio: open models."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="nebius",
    base_url="https://api.studio.nebius.ai/v1",
    wire=OPENAI_WIRE,
    key_env="NEBIUS_API_KEY",
    url_env="NEBIUS_BASE_URL",
)
