"""People of a test."""

from __future__ import annotations

import pytest

from support.accounts import People
from support.callers import Client


@pytest.fixture
def people(client: Client) -> People:
    """Makes people and signs them in."""
    return People(client)
