"""Gemini: Google's generateContent API, spoken on its own wire."""

from __future__ import annotations

from app.gateway.providers.gemini.wire import GeminiWire
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="gemini",
    base_url="https://generativelanguage.googleapis.com",
    wire=GeminiWire(),
    key_env="GEMINI_API_KEY",
    url_env="GEMINI_BASE_URL",
    auth_header="x-goog-api-key",
    prefixes=("gemini-",),
    raw_key_prefixes=("AIza",),
)
