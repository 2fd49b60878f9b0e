"""People of a test."""

from __future__ import annotations

import pytest

from support.accounts import CHEAP, People
from support.callers import Client


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line("markers", "hashing: passwords are hashed as in earnest")


@pytest.fixture
def people(client: Client, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> People:
    """Makes people and signs them in; passwords are hashed cheaply except where hashing is what is tested."""
    if "hashing" not in request.keywords:
        monkeypatch.setattr("app.security.passwords._HASHER", CHEAP)
    return People(client)
