"""Together AI: open models."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="together",
    base_url="https://api.together.xyz/v1",
    wire=OPENAI_WIRE,
    key_env="TOGETHER_API_KEY",
    url_env="TOGETHER_BASE_URL",
    renames={"max_completion_tokens": "max_tokens"},
)
