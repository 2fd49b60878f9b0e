"""The sandbox answers in a provider's place only while there is no provider."""

from __future__ import annotations

import pytest

from app.gateway.providers import PROVIDERS
from gateway.lane.conftest import Ask
from gateway.upstream import Upstream
from support.envelopes import Refusals


@pytest.fixture
def none(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh machine: no key, no address."""
    for name in PROVIDERS:
        for kind in ("API_KEY", "BASE_URL", "TIMEOUT"):
            monkeypatch.delenv(f"{name.upper()}_{kind}", raising=False)


@pytest.mark.usefixtures("none")
class TestWithoutProviders:
    """On a fresh machine."""

    def test_any_model_is_answered(self, ask: Ask) -> None:
        """The first command a newcomer types must work."""
        assert ask("gpt-4o-mini").headers["x-stockyard-provider"] == "sandbox"


def test_with_a_provider_the_sandbox_must_be_asked_for(ask: Ask, refused: Refusals) -> None:
    """A made-up answer must never pass for a model's."""
    refused(ask("gemini-2.5-pro"), 503)
    assert ask("sandbox").headers["x-stockyard-provider"] == "sandbox"
    assert ask("gpt-4o-mini", headers={"X-Provider": "sandbox"}).headers["x-stockyard-provider"] == "sandbox"
