"""The transport before a provider on a raw socket, on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from app.gateway.transport import HttpTransport


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Everything here holds on asyncio's own loop and on uvloop, which the server runs on."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    """A started transport."""
    made = HttpTransport()
    await made.start()
    yield made
    await made.stop()
