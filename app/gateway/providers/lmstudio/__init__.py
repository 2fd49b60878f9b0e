"""LM Studio, on this machine."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="lmstudio",
    base_url="http://localhost:1234/v1",
    wire=OPENAI_WIRE,
    url_env="LMSTUDIO_BASE_URL",
    renames={"max_completion_tokens": "max_tokens"},
)
