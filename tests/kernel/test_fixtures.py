"""The fixtures themselves: tests of everything else are worth what these are."""

from __future__ import annotations

import os
from typing import Any

import pytest
from sqlalchemy import func, select

from models.base import transaction
from models.identity import User
from support.callers import Client


def test_every_test_starts_with_one_user(client: Client) -> None:
    """What another test wrote must not be seen, on either database."""
    engine = client.application.runtime.engine
    with transaction(engine) as session:
        assert session.scalar(select(func.count(User.id))) == 1
        session.add(User(email="leftover@localhost", name="left by a test"))


def test_every_test_starts_with_one_user_again(client: Client) -> None:
    """The same a second time: whichever runs last would meet the other's leftover."""
    test_every_test_starts_with_one_user(client)


def test_both_databases_are_served(client: Client, settings: Any) -> None:
    """A test that says PostgreSQL must not be running on SQLite."""
    wanted = "postgresql" if settings.database_url else "sqlite"
    assert client.application.runtime.engine.dialect.name == wanted
    assert client.anonymous.get("/health").status_code == 200


@pytest.mark.settings(docs="locked")
def test_a_test_chooses_its_settings(settings: Any) -> None:
    """Behaviour behind a setting is tested by that setting."""
    assert settings.docs == "locked"


def test_the_server_is_the_real_one(server: Any) -> None:
    """Its own process, its own keys, an end by SIGTERM that exits well."""
    assert server.pid != os.getpid()
    assert server.request("GET", "/health").json()["status"] == "ok"
    assert server.admin_key.startswith("sy_admin_")
    assert server.user_key.startswith("sy_")
    assert server.stop() == 0


def test_servers_may_share_their_data(serve: Any) -> None:
    """Two servers on one data directory are two workers of one deployment."""
    first = serve()
    second = serve(data=first.data)
    assert first.admin_key == second.admin_key
    assert second.request("GET", "/health").ok


def test_a_shared_server_serves(shared_server: Any) -> None:
    """Tests that only read need not wait for a start of their own."""
    assert shared_server.request("GET", "/health").ok
