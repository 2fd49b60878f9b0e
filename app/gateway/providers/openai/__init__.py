"""OpenAI itself."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="openai",
    base_url="https://api.openai.com/v1",
    wire=OPENAI_WIRE,
    key_env="OPENAI_API_KEY",
    url_env="OPENAI_BASE_URL",
    timeout=30.0,
    prefixes=("gpt-", "chatgpt-", "o1", "o3", "o4", "ft:", "text-embedding-", "davinci-", "babbage-"),
    raw_key_prefixes=("sk-", "sk-proj-", "sk-svcacct-"),
)
