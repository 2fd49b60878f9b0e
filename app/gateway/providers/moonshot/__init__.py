"""Moonshot AI: Kimi."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="moonshot",
    base_url="https://api.moonshot.ai/v1",
    wire=OPENAI_WIRE,
    key_env="MOONSHOT_API_KEY",
    url_env="MOONSHOT_BASE_URL",
    prefixes=("kimi-", "moonshot-"),
)
