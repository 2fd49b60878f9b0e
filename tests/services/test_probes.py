"""Where a provider is asked for its models: the address each one's own SDK would use."""

from __future__ import annotations

import pytest

from app.gateway.config import Account
from app.gateway.providers import PROVIDERS
from app.services.probes import address, probe
from support.provider import upstream

AZURE = "https://x.openai.azure.com/openai"


@pytest.mark.parametrize(
    ("provider", "base_url", "expected"),
    [
        ("openai", "https://api.openai.com/v1/", "https://api.openai.com/v1/models"),
        ("anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1/models"),
        ("gemini", "https://g.example", "https://g.example/v1beta/models"),
        ("azure", f"{AZURE}/v1", f"{AZURE}/v1/models"),
        ("azure", f"{AZURE}/deployments/{{model}}?api-version=1", f"{AZURE}/models?api-version=1"),
    ],
)
def test_models_are_listed_where_the_provider_lists_them(provider: str, base_url: str, expected: str) -> None:
    """A probe at the wrong place calls a healthy provider broken."""
    assert address(provider, base_url) == expected


@pytest.mark.parametrize(
    ("name", "path", "header", "value"),
    [
        ("anthropic", "/v1/models", "x-api-key", "the-key"),
        ("anthropic", "/v1/models", "anthropic-version", "2023-06-01"),
        ("gemini", "/v1beta/models", "x-goog-api-key", "the-key"),
        ("groq", "/models", "authorization", "Bearer the-key"),
    ],
)
def test_each_provider_is_asked_as_it_wants(name: str, path: str, header: str, value: str) -> None:
    """The key goes into the header that provider reads, and never into the address, which others log."""
    with upstream() as told:
        assert probe(Account(PROVIDERS[name], told.base_url, "the-key")).status == "active"
    [(_, asked, headers)] = told.heard
    assert (asked, headers[header]) == (path, value)
    assert "the-key" not in asked


def test_the_netrc_of_the_operator_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """`requests` would replace the provider's key by a password found there."""
    netrc = tmp_path / "netrc"  # type: ignore[operator]
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with upstream() as told:
        probe(Account(PROVIDERS["openai"], told.base_url, "the-key"))
    assert told.heard[0][2]["authorization"] == "Bearer the-key"


@pytest.mark.parametrize("key", ["a\nb", "schlüssel", ""])
def test_a_key_no_header_can_carry_is_a_verdict(key: str) -> None:
    """It must neither split the header nor fail the request."""
    with upstream() as told:
        verdict = probe(Account(PROVIDERS["openai"], told.base_url, key))
    assert verdict.status == ("unreachable" if key else "active")
    assert len(told.heard) == (0 if key else 1)
