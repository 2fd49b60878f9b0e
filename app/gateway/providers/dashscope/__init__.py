"""Alibaba Cloud Model Studio: Qwen."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="dashscope",
    base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    wire=OPENAI_WIRE,
    key_env="DASHSCOPE_API_KEY",
    url_env="DASHSCOPE_BASE_URL",
    prefixes=("qwen-", "qwen2.5-", "qwen3-"),
)
