"""The miniature document behind the real kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.factory import Application, create
from app.settings import Settings
from support import miniature
from support.miniature.systems.things import Own


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    """The miniature document."""
    return miniature.document()


@pytest.fixture(params=miniature.DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Each dialect in turn."""
    return str(request.param)


@pytest.fixture
def application(settings: Settings, document: dict[str, Any]) -> Iterator[Application]:
    """The kernel over the miniature document and its own table."""
    made = create(settings, document, miniature.HANDLERS)
    Own.metadata.create_all(made.runtime.engine)
    yield made
    made.runtime.engine.dispose()
