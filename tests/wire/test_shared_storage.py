"""Limits that several workers share: no number of them ever admits more than one limit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, func, select

from app.factory import create
from app.settings import Settings, SettingsError
from app.wire import redis_storage, shared_storage
from app.wire.redis_storage import StandbyStorage
from app.wire.shared_storage import DatabaseStorage
from models.base import connect
from models.limits import RateWindow
from support.servers import free_port

REDIS = os.environ.get("YARDMASTER_TEST_REDIS_URL", "")


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """This test's database."""
    made = connect(settings.database)
    yield made
    made.dispose()


@pytest.fixture
def storage(engine: Engine) -> DatabaseStorage:
    """The store in the database."""
    return DatabaseStorage(engine=engine)


def test_no_hit_is_lost_between_threads(storage: DatabaseStorage) -> None:
    """Each hit sees its own number: an upsert that read first would give one number twice."""
    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(lambda _: storage.incr("k", 60), range(200)))
    assert sorted(counted) == list(range(1, 201))


def test_a_window_ends_and_the_next_begins(storage: DatabaseStorage) -> None:
    """The first hit opens the window; nothing before its end renews it."""
    (one, end), (two, same) = storage.count("k", 1), storage.count("k", 1)
    assert (one, two, end) == (1, 2, same)
    time.sleep(max(0.0, end - time.time()) + 0.02)
    assert storage.get("k") == 0
    assert storage.count("k", 1)[0] == 1


def test_keys_are_apart_and_can_be_cleared(storage: DatabaseStorage) -> None:
    """Callers do not share a count, and an operator can free one."""
    storage.incr("a", 60, amount=3)
    storage.incr("b", 60)
    assert (storage.get("a"), storage.get("b")) == (3, 1)
    storage.clear("a")
    assert (storage.get("a"), storage.get("b")) == (0, 1)
    assert storage.reset() == 1


def test_the_key_is_not_kept_in_clear(storage: DatabaseStorage, engine: Engine) -> None:
    """Addresses and e-mails of callers do not belong in a table of counts."""
    storage.incr("login:127.0.0.1:ada@example.com", 60)
    with engine.connect() as connection:
        assert "ada" not in str(connection.execute(select(RateWindow.key)).all())


def test_ended_windows_are_swept(storage: DatabaseStorage, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table stays as small as the number of callers of the last window."""
    for number in range(20):
        storage.incr(f"k{number}", 0)
    monkeypatch.setattr(shared_storage, "SWEEP_ONCE_IN", 1)
    time.sleep(0.01)
    storage.incr("live", 60)
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(RateWindow)) == 1


def test_two_servers_of_several_workers_hold_one_limit(serve: Any, settings: Settings) -> None:
    """Without Redis they count in the database: 100 a minute are 100, not 100 per process."""
    common = {"data": settings.data, "workers": 2, "rate_limits": "on"}
    if settings.database_url:
        common["database_url"] = settings.database_url
    first, second = serve(**common), serve(**common)

    def ask(number: int) -> int:
        return int((first, second)[number % 2].request("GET", "/healthz/nothing").status_code)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(140)))
    assert answers.count(404) == 100
    assert answers.count(429) == 40


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Any]:
    """A Redis of this test alone, to stop and to kill."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    port = free_port()
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path)],  # noqa: S607
        stdout=subprocess.DEVNULL,
    )
    url = f"redis://127.0.0.1:{port}/0"
    with redis.Redis.from_url(url) as probe:
        _await(probe)
    process.url = url  # type: ignore[attr-defined]
    yield process
    process.kill()
    process.wait()


def _await(probe: Any) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            probe.ping()
        except redis.ConnectionError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("redis-server does not answer")


@pytest.mark.skipif(not REDIS, reason="YARDMASTER_TEST_REDIS_URL names no server, e.g. redis://127.0.0.1:6379/9")
def test_redis_counts_what_the_database_would(engine: Engine) -> None:
    """The same numbers and the same window, under our own prefix."""
    storage = StandbyStorage(redis_url=REDIS, engine=engine)
    storage.clear("shared")
    (one, end), (two, same) = storage.count("shared", 60), storage.count("shared", 60)
    assert (one, two) == (1, 2)
    assert abs(end - same) <= 1
    with redis.Redis.from_url(REDIS) as client:
        assert client.keys(f"{redis_storage.PREFIX}*")
    storage.clear("shared")
    assert storage.get("shared") == 0


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_limits_hold_while_redis_is_away(redis_server: Any, engine: Engine, fault: int) -> None:
    """Dead or merely silent: the database counts on, and only the first hit waits, a quarter of a second."""
    storage = StandbyStorage(redis_url=redis_server.url, engine=engine)
    storage.count("k", 60)
    redis_server.send_signal(fault)
    if fault == signal.SIGKILL:
        redis_server.wait()
    began = time.monotonic()
    assert [storage.incr("k", 60) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert time.monotonic() - began < 2
    redis_server.send_signal(signal.SIGCONT)


def test_redis_is_asked_again(redis_server: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage that ended must not leave the workers counting in the slower store for ever."""
    monkeypatch.setattr(redis_storage, "REST_S", 0.1)
    storage = StandbyStorage(redis_url=redis_server.url, engine=engine)
    assert storage.incr("k", 60) == 1
    redis_server.send_signal(signal.SIGSTOP)
    assert storage.incr("k", 60) == 1
    redis_server.send_signal(signal.SIGCONT)
    time.sleep(0.3)
    assert storage.get("k") >= 1
    assert DatabaseStorage(engine=engine).get("k") == 1


def test_a_redis_that_never_answered_stops_the_start(settings: Settings) -> None:
    """Limits that cannot be counted where the operator said would hold nobody."""
    wrong = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(SettingsError, match="YARDMASTER_REDIS_URL does not answer"):
        create(Settings(data=settings.data, database_url=settings.database_url, redis_url=wrong))
    off = Settings(data=settings.data, database_url=settings.database_url, redis_url=wrong, rate_limits="off")
    create(off).runtime.engine.dispose()
