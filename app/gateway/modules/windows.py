"""Context windows: how many tokens a model takes at most, as its vendor documents them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

WINDOWS: Final = {
    "claude-": 200_000,
    "codestral": 256_000,
    "command-r": 128_000,
    "deepseek": 65_536,
    "gemini-1.5-pro": 2_097_152,
    "gemini-": 1_048_576,
    "gpt-3.5-turbo": 16_385,
    "gpt-4": 8_192,
    "gpt-4-turbo": 128_000,
    "gpt-4.1": 1_047_576,
    "gpt-4o": 128_000,
    "grok-3": 131_072,
    "llama-3.1": 131_072,
    "llama-3.3": 131_072,
    "mistral-large": 131_072,
    "mistral-small": 131_072,
    "o1": 200_000,
    "o1-mini": 128_000,
    "o3": 200_000,
    "o4-mini": 200_000,
    "sonar": 127_072,
}


@lru_cache(maxsize=4096)
def window_of(model: str, unknown: int = 0) -> int:
    """Tokens of the model whose name begins like this, by the longest beginning known; `unknown` where none is."""
    name = model.rpartition("/")[2]
    known = max((prefix for prefix in WINDOWS if name.startswith(prefix)), key=len, default="")
    return WINDOWS.get(known, unknown)
