"""FriendliAI: open models."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="friendli",
    base_url="https://api.friendli.ai/serverless/v1",
    wire=OPENAI_WIRE,
    key_env="FRIENDLI_TOKEN",
    url_env="FRIENDLI_BASE_URL",
)
