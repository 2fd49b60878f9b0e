"""Anthropic: the Messages API, spoken on its own wire."""

from __future__ import annotations

from app.gateway.providers.anthropic.wire import AnthropicWire
from app.gateway.wire import Kind, Provider

PROVIDER = Provider(
    name="anthropic",
    base_url="https://api.anthropic.com",
    wire=AnthropicWire(),
    key_env="ANTHROPIC_API_KEY",
    url_env="ANTHROPIC_BASE_URL",
    auth_header="x-api-key",
    prefixes=("claude-",),
    raw_key_prefixes=("sk-ant-",),
    kinds=frozenset({Kind.CHAT, Kind.COMPLETIONS}),
)
