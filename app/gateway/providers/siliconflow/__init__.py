"""SiliconFlow: open models."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="siliconflow",
    base_url="https://api.siliconflow.cn/v1",
    wire=OPENAI_WIRE,
    key_env="SILICONFLOW_API_KEY",
    url_env="SILICONFLOW_BASE_URL",
)
