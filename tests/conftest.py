"""Shared fixtures: a fresh database and application per test, callers with credentials, and the real server.

What a test may ask for:

- `settings`: Settings on a fresh, migrated database with its first keys. Every test that reaches it runs on SQLite and,
  when YARDMASTER_TEST_POSTGRES_URL names a server whose user may create databases, on PostgreSQL too.
  Change a setting with `@pytest.mark.settings(rate_limits="on", docs="locked")`; limits and the engine are off unless a
  test asks.
- `application`: `app.factory.create(settings)`, started and stopped around the test.
- `client`: the same application with three callers: `client.anonymous`, `client.admin`, `client.user`. The fixtures
  `anonymous`, `admin` and `user` are those callers: `admin.get("/api/keys", params={...})` answers an httpx response.
- `refused(response, status, code)`: asserts the refusal's envelope, in the dialect of the operation asked; its body.
- `server`: the command `yardmaster serve` as its own process, for this test; `shared_server`: one for the whole session
  (do not change what other tests see); `serve(...)`: as many as a test wants, with their own settings.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as property_settings
from sqlalchemy import Engine, Pool, create_engine, event

from app import factory
from app.factory import Application, create
from app.gate import Gate
from app.settings import Settings
from app.spec.join import bundle
from app.spec.operations import Index
from app.wire.limits import Limits
from app.wire.rules import Rules, compile_rules
from support.callers import Client
from support.databases import BACKENDS, Template, template_of
from support.envelopes import Refusals
from support.servers import Server, running

Serve = Callable[..., Server]

# A hundred properties at each run, on a machine that others load; `--hypothesis-profile=thorough` looks longer.
PATIENT = property_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
property_settings.register_profile("suite", PATIENT, max_examples=40)
property_settings.register_profile("thorough", PATIENT, max_examples=500)
property_settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark that chooses settings."""
    config.addinivalue_line("markers", "settings(**fields): the settings of this test's application")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Crash tests mostly wait, and disturb what they wait for: one after the other for each kind of database."""
    if item.get_closest_marker("crash"):
        item.add_marker(pytest.mark.xdist_group("postgresql" if "postgresql" in item.name else "sqlite"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They take longest: begun first, they are over when the others are."""
    longest = ("contract", "crash")
    items.sort(key=lambda item: next((n for n, name in enumerate(longest) if item.get_closest_marker(name)), 2))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what tests have measured, wherever they ran."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, told in report.user_properties:
                terminalreporter.write_line(f"{name}: {told}")


def pytest_collection_finish() -> None:
    """Ten thousand tests stay in memory: a collector that looks at all of them each time takes half of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


# Every connection that any pool of this process has made since the last test ended.
CONNECTED: list[Any] = []
event.listen(Pool, "connect", lambda connection, _: CONNECTED.append(connection))


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    """Engines made in a test are disposed after it, and what was connected is closed.

    A connection that a thread gives back after its engine was disposed is only forgotten, a warning in another test.
    """
    made: list[Engine] = []

    def noted(*words: Any, **options: Any) -> Engine:
        made.append(create_engine(*words, **options))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.base.create_engine", noted)
        yield
    for engine in made:
        engine.dispose()
    while CONNECTED:
        with suppress(Exception):  # in use until now
            CONNECTED.pop().close()


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
    chosen: dict[str, Any] = {"rate_limits": "off", "engine": "off"}
    for mark in reversed(list(request.node.iter_markers("settings"))):
        chosen |= mark.kwargs
    return Settings(data=tmp_path / "data", database_url=database_url, **chosen)


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    """The committed document, read once. A module may override this with its own."""
    return bundle()


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """What a document's operations accept is compiled once for all applications over it: half of what each costs."""
    known: dict[int, tuple[Index, dict[str, Rules]]] = {}

    def compiled(index: Index) -> dict[str, Rules]:
        _, rules = known.setdefault(id(index.document), (index, {}))
        if not rules:
            rules |= compile_rules(index)
        return rules

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.factory.compile_rules", compiled)
        patch.setattr("app.factory._gate", _Planes(factory._gate).gate)
        yield


class _Planes:
    """The planes of a document, built once for all applications over it that count nothing; they keep no state."""

    def __init__(self, build: Callable[..., Gate]) -> None:
        self._build = build
        self._known: dict[tuple[int, str], tuple[Any, Any]] = {}

    def gate(self, runtime: Any, limiter: Any) -> Gate:
        """A gate of the application's own, before planes that others may share."""
        index = runtime.index
        key = (id(index.document), next(iter(index.by_id.values())).module)
        if limiter.enabled:
            return self._build(runtime, limiter)
        if key not in self._known:
            gate = self._build(runtime, limiter)
            self._known[key] = (index.document, gate._planes)
            return gate
        return Gate(runtime, self._known[key][1], Limits(None))


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
