"""OpenRouter: many providers behind one key."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    wire=OPENAI_WIRE,
    key_env="OPENROUTER_API_KEY",
    url_env="OPENROUTER_BASE_URL",
    prefixes=("openrouter/",),
    raw_key_prefixes=("sk-or-",),
)
