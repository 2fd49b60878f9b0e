"""What every crash test runs on: a database of its own, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.databases import POSTGRES, empty_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of this test alone; empty: SQLite in the data directory."""
    if request.param == "sqlite":
        yield ""
        return
    if not os.environ.get(POSTGRES):
        pytest.skip(f"{POSTGRES} names no server")
    with empty_database() as url:
        yield url.render_as_string(hide_password=False)
