"""Z.ai: GLM."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

PROVIDER = Provider(
    name="zai",
    base_url="https://api.z.ai/api/paas/v4",
    wire=OPENAI_WIRE,
    key_env="ZAI_API_KEY",
    url_env="ZAI_BASE_URL",
    prefixes=("glm-",),
    kinds=frozenset({Kind.CHAT}),
)
