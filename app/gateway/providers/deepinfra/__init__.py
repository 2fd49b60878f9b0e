"""DeepInfra: open models."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="deepinfra",
    base_url="https://api.deepinfra.com/v1/openai",
    wire=OPENAI_WIRE,
    key_env="DEEPINFRA_API_KEY",
    url_env="DEEPINFRA_BASE_URL",
    renames={"max_completion_tokens": "max_tokens"},
)
