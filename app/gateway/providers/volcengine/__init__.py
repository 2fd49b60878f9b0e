"""Volcano Engine Ark."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="volcengine",
    base_url="https://ark.cn-beijing.volces.com/api/v3",
    wire=OPENAI_WIRE,
    key_env="VOLCENGINE_API_KEY",
    url_env="VOLCENGINE_BASE_URL",
)
