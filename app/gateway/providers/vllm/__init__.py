"""vLLM, on this machine."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="vllm",
    base_url="http://localhost:8000/v1",
    wire=OPENAI_WIRE,
    url_env="VLLM_BASE_URL",
)
