"""xAI."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="xai",
    base_url="https://api.x.ai/v1",
    wire=OPENAI_WIRE,
    key_env="XAI_API_KEY",
    url_env="XAI_BASE_URL",
    prefixes=("grok-",),
    raw_key_prefixes=("xai-",),
)
