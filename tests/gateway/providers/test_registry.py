"""The table of providers leads every model and every key to the right door."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from app.gateway.providers import PROVIDERS, provider_for_key, provider_for_model, provider_named

LOCAL = {"ollama", "lmstudio", "vllm"}


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_a_provider_is_complete(name: str) -> None:
    """A key sent in the clear, or a provider nobody can switch on, is found here and not in production."""
    provider = PROVIDERS[name]
    scheme = urlsplit(provider.base_url).scheme
    inside = provider.transport is not None
    assert provider.name == name == name.lower()
    assert scheme == {True: "sandbox", False: "http" if name in LOCAL else "https"}[inside] or name == "azure"
    assert (provider.key_env is None) == (inside or name in LOCAL)
    assert not provider.base_url.endswith("/")
    assert not provider.drops & provider.renames.keys()


def test_every_promised_provider_is_there() -> None:
    """The names are part of the contract: headers and configuration use them."""
    promised = "openai anthropic gemini groq mistral together deepseek fireworks perplexity openrouter xai cohere"
    assert {*promised.split(), "replicate", "azure", "ollama", "lmstudio", "sandbox"} <= PROVIDERS.keys()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "openai"),
        ("o3-mini", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("gemini-2.5-pro", "gemini"),
        ("llama-3.3-70b-versatile", "groq"),
        ("mixtral-8x7b", "groq"),
        ("gemma2-9b-it", "groq"),
        ("mistral-large", "mistral"),
        ("open-mistral-nemo", "mistral"),
        ("codestral", "mistral"),
        ("deepseek-chat", "deepseek"),
        ("command-r-plus", "cohere"),
        ("accounts/fireworks/models/llama", "fireworks"),
        ("accounts/fireworks/models/Qwen", "fireworks"),
        ("Qwen/Qwen3-32B", "together"),
        ("meta-llama/Meta-Llama-3-8B", "together"),
        ("mistralai/Mixtral-8x7B", "together"),
        ("sonar-pro", "perplexity"),
        ("grok-3", "xai"),
        ("sandbox-fail-503", "sandbox"),
        ("text-embedding-3-small", "openai"),
        ("never-heard-of", "openai"),
    ],
)
def test_a_models_name_leads_to_its_provider(model: str, name: str) -> None:
    """The longest prefix wins, the same way every time."""
    assert provider_for_model(model) == name


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("sk-proj-abc", "openai"),
        ("sk-abc", "openai"),
        ("sk-ant-api03-abc", "anthropic"),
        ("sk-or-v1-abc", "openrouter"),
        ("gsk_abc", "groq"),
        ("fw_abc", "fireworks"),
        ("pplx-abc", "perplexity"),
        ("xai-abc", "xai"),
        ("sy_live_abc", None),
        ("sy_admin_abc", None),
        ("sk-sy-abc", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_a_raw_key_leads_to_its_issuer_and_ours_to_nobody(key: str, name: str | None) -> None:
    """Our own keys must never be sent to a provider, though the old ones look like OpenAI's."""
    assert provider_for_key(key) == name


def test_a_provider_is_found_in_any_case() -> None:
    """`X-Provider: OpenAI` means openai."""
    assert provider_named("OpenAI") is PROVIDERS["openai"]
    assert provider_named("nobody") is None
