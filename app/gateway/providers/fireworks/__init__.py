"""Fireworks AI: open models."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="fireworks",
    base_url="https://api.fireworks.ai/inference/v1",
    wire=OPENAI_WIRE,
    key_env="FIREWORKS_API_KEY",
    url_env="FIREWORKS_BASE_URL",
    prefixes=("accounts/fireworks/",),
    raw_key_prefixes=("fw_",),
)
