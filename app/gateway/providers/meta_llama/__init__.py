"""Meta's Llama API."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

PROVIDER = Provider(
    name="meta-llama",
    base_url="https://api.llama.com/compat/v1",
    wire=OPENAI_WIRE,
    key_env="LLAMA_API_KEY",
    url_env="LLAMA_BASE_URL",
    kinds=frozenset({Kind.CHAT}),
)
