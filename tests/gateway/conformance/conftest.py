"""What the conformance tests share: the upstream on loopback and a session to reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from tests.gateway.conformance.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """A provider on loopback."""
    with Upstream() as server:
        yield server


@pytest.fixture(scope="session")
def session() -> Iterator[requests.Session]:
    """An ordinary HTTP client; no proxy of the machine's."""
    with requests.Session() as client:
        client.trust_env = False
        yield client
