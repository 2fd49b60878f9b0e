"""Official SDKs against the real server, whose provider is a real HTTP server in a third process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from gateway.upstream import Upstream, provider
from support.servers import Server, running

PROVIDERS = ("openai", "groq", "anthropic")


@pytest.fixture(scope="session")
def upstream_process() -> Iterator[Upstream]:
    """The provider, once per session."""
    with provider() as started:
        yield started


@pytest.fixture
def upstream(upstream_process: Upstream) -> Upstream:
    """The provider with nothing scripted."""
    upstream_process.forget()
    return upstream_process


@pytest.fixture(scope="session")
def yard(upstream_process: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, once per session; a circuit that opened in one test would disturb the next, so they stay closed."""
    folder: Path = tmp_path_factory.mktemp("yard")
    variables = upstream_process.environment(*PROVIDERS, timeout=2)
    with running(folder) as start:
        yield start(rate_limits="off", variables=variables, preloaded=False)


@pytest.fixture
def client(yard: Server, upstream: Upstream) -> Iterator[openai.OpenAI]:
    """The official client, as a user configures it: base URL and key, nothing else; no retries of its own."""
    with openai.OpenAI(base_url=f"{yard.base_url}/v1", api_key=yard.user_key, max_retries=0) as made:
        yield made
