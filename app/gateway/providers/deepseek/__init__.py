"""DeepSeek."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

PROVIDER = Provider(
    name="deepseek",
    base_url="https://api.deepseek.com/v1",
    wire=OPENAI_WIRE,
    key_env="DEEPSEEK_API_KEY",
    url_env="DEEPSEEK_BASE_URL",
    renames={"max_completion_tokens": "max_tokens"},
    prefixes=("deepseek",),
    kinds=frozenset({Kind.CHAT}),
)
