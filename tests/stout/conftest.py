"""People of a test."""

from __future__ import annotations

import pytest

from support.accounts import CHEAP, People
from support.callers import Client


@pytest.fixture
def people(client: Client, monkeypatch: pytest.MonkeyPatch) -> People:
    """Makes people and signs them in; their passwords are hashed cheaply, for what is tested here is not hashing."""
    monkeypatch.setattr("app.security.passwords._HASHER", CHEAP)
    return People(client)
