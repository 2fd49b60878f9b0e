"""GitHub Models."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Kind, Provider

PROVIDER = Provider(
    name="github-models",
    base_url="https://models.github.ai/inference",
    wire=OPENAI_WIRE,
    key_env="GITHUB_TOKEN",
    url_env="GITHUB_MODELS_BASE_URL",
    raw_key_prefixes=("ghp_", "github_pat_"),
    kinds=frozenset({Kind.CHAT, Kind.EMBEDDINGS}),
)
