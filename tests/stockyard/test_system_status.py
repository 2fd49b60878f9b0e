"""The status: it tells what is broken, and is itself the last thing to break."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.gateway import spool
from app.services.recorder import SPOOL, read_status
from app.settings import Settings
from support.callers import Client
from support.databases import maintain
from support.envelopes import Refusals
from support.people import Promised

STATUS = "/api/status"
QUESTION = {"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}
PARTS = {"database", "modules", "observe", "providers", "disk"}


def part(report: dict[str, Any], name: str) -> tuple[str, str]:
    """The condition of one component, and why."""
    component = report["components"][name]
    return component["status"], component["detail"]


def until(truth: Callable[[], bool]) -> None:
    """Wait for what happens beside the requests."""
    deadline = time.monotonic() + 10
    while not truth():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


@contextmanager
def folder_lost(folder: Path) -> Iterator[None]:
    """A file where the spool's folder was: as unwritable as a full disk, for root too."""
    away = folder.with_name("away")
    folder.rename(away)
    folder.write_bytes(b"")
    yield
    folder.unlink()
    away.rename(folder)


def test_a_healthy_server_says_so(client: Client, promised: Promised) -> None:
    """Every part is tried, every number is there."""
    response = client.admin.get(STATUS)
    report = promised(response)
    assert {name: part(report, name)[0] for name in PARTS} == dict.fromkeys(PARTS, "healthy")
    assert report["status"] == "healthy"
    assert response.headers["cache-control"] == "no-cache"
    assert (report["worker"], report["workers"]) == (os.getpid(), 1)
    assert 10 < report["memory"]["alloc_mb"] < report["memory"]["sys_mb"]
    assert (report["total_requests"], report["error_rate"]) == (0, 0)


def test_totals_are_those_of_the_calls(client: Client) -> None:
    """One of three failed: the rate is a share, not a percentage."""
    for model in ("sandbox", "sandbox", "sandbox-fail-400"):
        client.user.post("/v1/chat/completions", json=QUESTION | {"model": model})
    until(lambda: client.admin.get(STATUS).json()["total_requests"] == 3)
    report = client.admin.get(STATUS).json()
    assert (report["total_errors"], report["error_rate"]) == (1, 0.333333)
    assert 0 < report["avg_latency_ms"] < 10_000


def test_only_operators_are_told(user: Any, anonymous: Any, refused: Refusals) -> None:
    """What is broken is a map for whoever wants to break more."""
    refused(anonymous.get(STATUS), 401, "unauthorized")
    refused(user.get(STATUS), 403, "forbidden")


def test_a_database_that_does_not_answer_is_told_in_time(client: Client, promised: Promised) -> None:
    """Every connection is taken: the report still comes, at 200, within seconds, and recovers with the database."""
    assert client.admin.get(STATUS).json()["status"] == "healthy"
    with ExitStack() as held:
        with suppress(SQLAlchemyError):
            engine = client.application.runtime.engine
            for _ in range(40):  # waiting for those that something beside the requests holds just now
                held.enter_context(engine.connect())
        began = time.monotonic()
        report = promised(client.admin.get(STATUS))
        assert time.monotonic() - began < 5
        assert (report["status"], part(report, "database")) == ("down", ("down", "no answer within 2 s"))
        assert "total_requests" not in report, "an unknown number is not zero"
    until(lambda: client.admin.get(STATUS).json()["status"] == "healthy")


def test_a_removed_database_is_noticed(client: Client, settings: Settings, promised: Promised) -> None:
    """Connections that are still open go on reading a file nobody will find after the next start."""
    assert client.admin.get(STATUS).json()["status"] == "healthy"
    with removed(client, settings):
        report = promised(client.admin.get(STATUS))
        assert (report["status"], part(report, "database")) == ("down", ("down", "no answer: OperationalError"))
    until(lambda: client.admin.get(STATUS).json()["status"] == "healthy")


@contextmanager
def removed(client: Client, settings: Settings) -> Iterator[None]:
    """The database is gone: the file, or, on a server, the right to connect."""
    url = client.application.runtime.engine.url
    if not settings.database_url:
        path = Path(str(url.database))
        path.rename(path.with_suffix(".away"))
        yield
        path.with_suffix(".away").rename(path)
        return
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.database}'"  # noqa: S608
    maintain(url, f'ALTER DATABASE "{url.database}" WITH ALLOW_CONNECTIONS false')
    maintain(url, kill)
    yield
    maintain(url, f'ALTER DATABASE "{url.database}" WITH ALLOW_CONNECTIONS true')


def test_a_full_disk_degrades_and_stops_nothing(client: Client, settings: Settings) -> None:
    """Calls go on, the report says what to do, and the traces arrive once there is room."""
    gateway = client.application.runtime.gateway
    until(lambda: read_status(settings.data / SPOOL).pid > 0)  # the recorder works
    with folder_lost(settings.data / SPOOL):
        gateway.spool._segment_bytes = 0  # the next line needs a new file
        assert client.user.post("/v1/chat/completions", json=QUESTION).status_code == 200
        report = client.admin.get(STATUS).json()
        assert report["status"] == "degraded"
        assert part(report, "observe")[0] == part(report, "disk")[0] == "degraded"
        assert "the spool cannot be written" in part(report, "observe")[1]
        assert "it cannot be written" in part(report, "disk")[1]
    gateway.spool._segment_bytes = spool.SEGMENT_BYTES
    client.user.post("/v1/chat/completions", json=QUESTION)
    until(lambda: client.admin.get(STATUS).json().get("total_requests") == 2)
    assert client.admin.get(STATUS).json()["status"] == "healthy"


def test_health_does_not_need_the_database(client: Client, settings: Settings) -> None:
    """A load balancer must not take every server out because their database takes a breath."""
    with removed(client, settings):
        assert client.anonymous.get("/health").json()["status"] == "ok"
        assert client.anonymous.get("/api/health").json()["product"] == "yardmaster"


def test_the_applications_are_those_that_exist(client: Client, promised: Promised, refused: Refusals) -> None:
    """A client that walks the list finds operations behind every entry."""
    body = promised(client.user.get("/api/apps"))
    assert [app["name"] for app in body["apps"]] == ["proxy", "observe"]
    paths = client.anonymous.get("/api/openapi.json").json()["paths"]
    for app in body["apps"]:
        assert any(path.startswith(f"{app['api']}/") for path in paths), app
    refused(client.anonymous.get("/api/apps"), 401, "unauthorized")
