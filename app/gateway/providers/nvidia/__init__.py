"""NVIDIA NIM, as hosted in its API catalogue."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="nvidia",
    base_url="https://integrate.api.nvidia.com/v1",
    wire=OPENAI_WIRE,
    key_env="NVIDIA_API_KEY",
    url_env="NVIDIA_BASE_URL",
    renames={"max_completion_tokens": "max_tokens"},
    raw_key_prefixes=("nvapi-",),
)
