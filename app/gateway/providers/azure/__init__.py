"""Azure OpenAI: one resource or deployment of your own, so there is no common address."""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.wire import Provider

# Either form of address works: `https://<resource>.openai.azure.com/openai/v1`, or
# `https://<resource>.openai.azure.com/openai/deployments/{model}?api-version=…`, where `{model}` is filled in.
PROVIDER = Provider(
    name="azure",
    base_url="",
    wire=OPENAI_WIRE,
    key_env="AZURE_OPENAI_API_KEY",
    url_env="AZURE_OPENAI_BASE_URL",
    auth_header="api-key",
)
