"""Shared fixtures: a fresh database and application per test, callers with credentials, and the real server.

What a test may ask for:

- `settings`: Settings on a fresh, migrated database with its first keys. Every test that reaches it runs on SQLite and,
  when YARDMASTER_TEST_POSTGRES_URL names a server whose user may create databases, on PostgreSQL too.
  Change a setting with `@pytest.mark.settings(rate_limits="on", docs="locked")`; limits are off unless a test asks.
- `application`: `app.factory.create(settings)`, started and stopped around the test.
- `client`: the same application with three callers: `client.anonymous`, `client.admin`, `client.user`. The fixtures
  `anonymous`, `admin` and `user` are those callers: `admin.get("/api/keys", params={...})` answers an httpx response.
- `refused(response, status, code)`: asserts the refusal's envelope, in the dialect of the operation asked; its body.
- `server`: the command `yardmaster serve` as its own process, for this test; `shared_server`: one for the whole session
  (do not change what other tests see); `serve(...)`: as many as a test wants, with their own settings.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.factory import Application, create
from app.settings import Settings
from app.spec.join import bundle
from support.callers import Client
from support.databases import BACKENDS, Template, template_of
from support.envelopes import Refusals
from support.servers import Server, running

Serve = Callable[..., Server]


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark that chooses settings."""
    config.addinivalue_line("markers", "settings(**fields): the settings of this test's application")


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    """A migrated database with its first keys, made once per database server and copied for each test."""
    with template_of(request.param, tmp_path_factory.mktemp(request.param)) as template:
        yield template


@pytest.fixture
def database_url(backend: Template, tmp_path: Path) -> Iterator[str]:
    """A copy of that database, of this test alone."""
    with backend.copy(tmp_path / "data") as url:
        yield url


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Settings:
    """Settings of this test: its own data directory and database."""
    chosen: dict[str, Any] = {"rate_limits": "off"}
    for mark in reversed(list(request.node.iter_markers("settings"))):
        chosen |= mark.kwargs
    return Settings(data=tmp_path / "data", database_url=database_url, **chosen)


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    """The committed document, read once. A module may override this with its own."""
    return bundle()


@pytest.fixture
def application(settings: Settings, document: dict[str, Any]) -> Iterator[Application]:
    """The application over this test's database; `client` starts and stops it."""
    made = create(settings, document)
    yield made
    made.runtime.engine.dispose()


@pytest.fixture
def client(application: Application, backend: Template) -> Iterator[Client]:
    """The started application with its three callers."""
    with Client(application, backend.keys) as opened:
        yield opened


@pytest.fixture
def anonymous(client: Client) -> Any:
    """A caller without a credential."""
    return client.anonymous


@pytest.fixture
def admin(client: Client) -> Any:
    """The operator, by the first admin key."""
    return client.admin


@pytest.fixture
def user(client: Client) -> Any:
    """The first user, by the first user key."""
    return client.user


@pytest.fixture
def refused(document: dict[str, Any]) -> Refusals:
    """The assertion that a response is a well-formed refusal of its dialect."""
    return Refusals(document)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts `yardmaster serve` with the given settings (fields of Settings), and stops what it started.

    Servers started with the same `data` share a database; without it each has its own.
    """
    with running(tmp_path) as start:
        yield start


@pytest.fixture
def server(serve: Serve) -> Server:
    """A server of this test alone, limits off."""
    return serve(rate_limits="off")


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the whole session, limits off: for tests that leave nothing behind."""
    folder = tmp_path_factory.mktemp("shared_server")
    with running(folder) as start:
        yield start(rate_limits="off")
    shutil.rmtree(folder, ignore_errors=True)
