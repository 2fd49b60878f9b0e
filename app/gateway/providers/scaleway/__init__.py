"""Scaleway Generative APIs."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="scaleway",
    base_url="https://api.scaleway.ai/v1",
    wire=OPENAI_WIRE,
    key_env="SCW_SECRET_KEY",
    url_env="SCALEWAY_BASE_URL",
)
