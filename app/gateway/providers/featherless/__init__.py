"""Featherless: open models."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="featherless",
    base_url="https://api.featherless.ai/v1",
    wire=OPENAI_WIRE,
    key_env="FEATHERLESS_API_KEY",
    url_env="FEATHERLESS_BASE_URL",
)
