"""Nscale: open models."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="nscale",
    base_url="https://inference.api.nscale.com/v1",
    wire=OPENAI_WIRE,
    key_env="NSCALE_API_KEY",
    url_env="NSCALE_BASE_URL",
)
