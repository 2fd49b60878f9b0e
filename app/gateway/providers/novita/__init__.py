"""Novita AI: open models."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="novita",
    base_url="https://api.novita.ai/v3/openai",
    wire=OPENAI_WIRE,
    key_env="NOVITA_API_KEY",
    url_env="NOVITA_BASE_URL",
    renames={"max_completion_tokens": "max_tokens"},
)
