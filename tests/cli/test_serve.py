"""`yardmaster serve` where it cannot start: one sentence that says what to do, exit code 1, never a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from models.base import connect
from models.migrations import upgrade
from support.databases import POSTGRES, empty_database, template_of
from support.servers import COMMAND, environment, free_port

NOBODY = "postgresql://yard:hunter2@127.0.0.1:1/yard"
GARBAGE = ("", "not json", "[]", "{}", '{"pepper": "", "current": "k1", "keyring": {"k1": ""}}', '{"keyring": 1}')


def refusal(data: Path, *options: str, folder: Path | None = None, **settings: Any) -> str:
    """What `serve` says on its way out, proven to be one sentence and exit code 1."""
    command = [str(COMMAND), "serve", "--port", str(free_port()), "--data", str(data), *options]
    where: dict[str, Any] = {"env": environment(**settings), "cwd": folder or data.parent}
    ran = subprocess.run(command, **where, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    said = [line for line in ran.stderr.splitlines() if re.match(r"(yardmaster|Error): ", line)]
    assert len(said) == 1, ran.stderr
    return said[0]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture(scope="session")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server that has run: SQLite, its first keys, its secrets."""
    with template_of("sqlite", tmp_path_factory.mktemp("used")) as template:
        return template.data


@pytest.fixture
def ran(used: Path, data: Path) -> Path:
    """A copy of it, of this test alone."""
    return Path(shutil.copytree(used, data))


@pytest.fixture
def postgres() -> Iterator[URL]:
    """An empty PostgreSQL database."""
    if not os.environ.get(POSTGRES):
        pytest.skip(f"{POSTGRES} names no server")
    with empty_database() as url:
        yield url


def test_a_taken_port_is_named(data: Path) -> None:
    """The commonest failure of all: another server is running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(data, "--port", str(port))
    assert f"127.0.0.1:{port}" in said
    assert "--port" in said


def test_a_host_that_is_not_ours_is_named(data: Path) -> None:
    """An address of another machine, or no address at all."""
    assert "203.0.113.1" in refusal(data, "--host", "203.0.113.1")


@pytest.mark.parametrize("place", ["/proc/yardmaster", "file/below"])
def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    """A read-only volume, or a path through a file."""
    (tmp_path / "file").write_text("a file")
    said = refusal(tmp_path / place, folder=tmp_path)
    assert place in said
    assert "--data" in said


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"rate_limits": "sometimes"}, "YARDMASTER_RATE_LIMITS must be one of on, off"),
        ({"log_level": "loud"}, "YARDMASTER_LOG_LEVEL must be one of debug, info, warning, error"),
        ({"workers": "many"}, "YARDMASTER_WORKERS must be a whole number"),
        ({"admin_key": "letmein"}, "YARDMASTER_ADMIN_KEY must be sy_admin_"),
        ({"database_url": "a database"}, "YARDMASTER_DATABASE_URL is no database URL"),
        ({"database_url": "oracle://a/b"}, "YARDMASTER_DATABASE_URL names a database that cannot be spoken to"),
        ({"database_url": NOBODY}, "the database postgresql+psycopg://yard:***@127.0.0.1:1/yard cannot be used"),
        ({"redis_url": "redis://127.0.0.1:1/0"}, "YARDMASTER_REDIS_URL"),
    ],
)
def test_a_wrong_setting_is_named(data: Path, settings: dict[str, str], named: str) -> None:
    """With its variable, so that nobody has to guess; never with the password in it."""
    said = refusal(data, **settings)
    assert named in said
    assert "hunter2" not in said
    assert "letmein" not in said


def test_an_unknown_setting_of_the_file_is_named(tmp_path: Path, data: Path) -> None:
    """A misspelt setting that is ignored is a setting nobody has."""
    (tmp_path / "yardmaster.yaml").write_text("rate_limit: off\n")
    assert "unknown setting 'rate_limit'" in refusal(data)


def test_broken_prices_are_named(ran: Path) -> None:
    """Wrong money is worse than no server."""
    (ran / "prices.json").write_text('{"prices": [{"model": "gpt-x", "input": "cheap"}]}')
    assert "prices.json" in refusal(ran)


@pytest.mark.parametrize("text", GARBAGE)
def test_unreadable_secrets_are_named(ran: Path, text: str) -> None:
    """Cut, emptied or overwritten: the server must neither guess nor make new ones over them."""
    (ran / "secrets.json").write_text(text)
    said = refusal(ran)
    assert "secrets.json cannot be read" in said
    assert (ran / "secrets.json").read_text() == text


def test_lost_secrets_are_not_replaced(ran: Path) -> None:
    """With new ones every key would silently stop working, and every stored provider key with it."""
    (ran / "secrets.json").unlink()
    for _ in range(2):  # the refusal itself must not leave new secrets behind
        assert "secrets.json is gone; restore it from a backup" in refusal(ran)


def test_secrets_of_another_machine_are_asked_for(postgres: URL, data: Path, tmp_path: Path) -> None:
    """Two machines on one PostgreSQL need the same secrets; the second must not start with its own."""
    url = postgres.render_as_string(hide_password=False)
    engine = connect(url)
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO api_keys (name, role, key_hash, key_prefix, hash_algorithm, scopes, created_at)"
            " VALUES ('a', 'admin', 'h', 'p', 'hmac-sha256', '*', 0)"
        )
    engine.dispose()
    assert "secrets.json is gone" in refusal(data, database_url=url)


def test_a_file_that_is_no_database_is_named(data: Path) -> None:
    """Restored from the wrong backup, or written over."""
    data.mkdir()
    (data / "yardmaster.db").write_text("this is no database, whatever its name says" * 100)
    assert "file is not a database" in refusal(data)


def test_a_database_of_a_newer_version_is_named(ran: Path) -> None:
    """After a step back in versions: running on a schema of the future would destroy it."""
    with sqlite3.connect(ran / "yardmaster.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "made by another version" in refusal(ran)


def test_the_data_is_its_owners_alone(serve: Any) -> None:
    """Keys, prompts and answers lie in it; other users of the machine must not read them."""
    server = serve()
    server.request("POST", "/v1/chat/completions", server.user_key, json={"model": "sandbox", "messages": []})
    server.stop()
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    for path in server.data.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_secrets_left_open_are_closed_with_a_warning(ran: Path, serve: Any) -> None:
    """A copy made by hand often takes the umask's mode; whoever could read it may have done so."""
    (ran / "secrets.json").chmod(0o644)
    (ran / "yardmaster.db").chmod(0o664)
    ran.chmod(0o777)
    server = serve(data=ran, log_format="json")
    server.stop()
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    warned = [line["message"] for line in lines if line["level"] == "warning"]
    assert len(warned) == 3
    assert [name in text for name, text in zip(["chmod 700", "secrets.json", "yardmaster.db"], warned, strict=True)]
    assert {stat.S_IMODE((ran / name).stat().st_mode) for name in ("secrets.json", "yardmaster.db")} == {0o600}


def test_a_misspelt_variable_is_told_of(serve: Any) -> None:
    """It may belong to somebody else, so it does not stop the start; but it is said."""
    server = serve(rate_limit="off", service_host="10.0.0.1")
    server.stop()
    told = server.log.read_text()
    assert "YARDMASTER_RATE_LIMIT is no setting; did you mean YARDMASTER_RATE_LIMITS?" in told
    assert "SERVICE_HOST" not in told


def test_two_servers_on_one_directory_record_every_call_once(serve: Any) -> None:
    """One records for both; when it goes, the other takes over and nothing is lost or doubled."""
    first = serve(rate_limits="off")
    second = serve(data=first.data, rate_limits="off")
    question = {"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}
    for server in (first, second) * 5:
        assert server.request("POST", "/v1/chat/completions", first.user_key, json=question).ok
    first.stop()
    assert second.request("POST", "/v1/chat/completions", first.user_key, json=question).ok
    second.stop()
    with sqlite3.connect(first.data / "yardmaster.db") as database:
        [(stored, distinct)] = database.execute("SELECT count(*), count(DISTINCT id) FROM traces").fetchall()
    assert (stored, distinct) == (11, 11)
    assert not list((first.data / "spool").glob("*.spool"))
