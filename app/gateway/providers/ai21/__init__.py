"""AI21: Jamba."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

PROVIDER = Provider(
    name="ai21",
    base_url="https://api.ai21.com/studio/v1",
    wire=OPENAI_WIRE,
    key_env="AI21_API_KEY",
    url_env="AI21_BASE_URL",
    renames={"max_completion_tokens": "max_tokens"},
    prefixes=("jamba-",),
    kinds=frozenset({Kind.CHAT}),
)
