"""SambaNova: open models on its own chips."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="sambanova",
    base_url="https://api.sambanova.ai/v1",
    wire=OPENAI_WIRE,
    key_env="SAMBANOVA_API_KEY",
    url_env="SAMBANOVA_BASE_URL",
)
