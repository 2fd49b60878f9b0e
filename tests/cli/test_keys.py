"""`yardmaster keys`: what it prints, what it refuses, and that a running server notices."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import group
from app.settings import Settings
from support.callers import Client

Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `yardmaster keys` on this test's data directory and database."""
    if settings.database_url:
        monkeypatch.setenv("YARDMASTER_DATABASE_URL", settings.database_url)

    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(group, ["--data", str(settings.data), "keys", *arguments])
        assert result.exit_code == code, result.output
        return result

    return invoke


def listed(run: Run, *arguments: str) -> dict[str, Any]:
    """The listed keys by name."""
    return {key["name"]: key for key in json.loads(run("list", "--json", *arguments).stdout)["keys"]}


def test_a_key_made_beside_a_running_server_works(run: Run, client: Client) -> None:
    """Only the key is on standard output, so that `KEY=$(yardmaster keys create)` works."""
    made = run("create")
    assert made.stdout.startswith("sy_")
    assert made.stdout.strip() not in made.stderr
    assert "operator@localhost" in made.stderr
    me = client.bearing(made.stdout.strip()).get("/api/auth/me")
    assert me.json()["user"]["email"] == "operator@localhost"


def test_a_revoked_key_stops_in_a_running_server_within_a_second(run: Run, client: Client) -> None:
    """Whoever revokes from the console must not have to restart anything."""
    made = json.loads(run("create", "--name", "leaked", "--json").stdout)
    doomed = client.bearing(made["key"])
    assert doomed.get("/api/auth/me").status_code == 200
    assert run("revoke", str(made["id"])).stdout == f"key {made['id']} is revoked\n"
    revoked = time.monotonic()
    while doomed.get("/api/auth/me").status_code == 200:
        assert time.monotonic() - revoked < 1.0
        time.sleep(0.02)
    assert "leaked" not in listed(run)


def test_an_admin_key_operates_the_server(run: Run, client: Client) -> None:
    """It belongs to no user, and says so."""
    made = json.loads(run("create", "--admin", "--json").stdout)
    assert (made["role"], made["user"], made["key"][:9]) == ("admin", "the operator", "sy_admin_")
    assert client.bearing(made["key"]).get("/api/auth/users").status_code == 200


def test_names_are_found_when_none_is_given(run: Run) -> None:
    """Making a key twice must not fail on a name nobody chose; a chosen one must."""
    run("create")
    run("create")
    run("create", "--admin")
    assert {"default", "cli", "cli-2", "admin"} <= listed(run).keys()
    assert "choose another name" in run("create", "--name", "cli", code=1).stderr


def test_a_key_expires_when_asked(run: Run) -> None:
    """From now, in the units people write."""
    made = json.loads(run("create", "--expires-in", "2w", "--json").stdout)
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=14) - timedelta(minutes=1) < left <= timedelta(days=14)
    assert "until 20" in run("create", "--expires-in", "90m").stderr


@pytest.mark.parametrize("span", ["0d", "30", "d", "-1d", "1.5h", "1y", "36501d", "9999999999w"])
def test_a_span_that_is_none_is_refused(run: Run, span: str) -> None:
    """Exit code 2, as for any wrong usage, with what to write instead."""
    assert "30d" in run("create", f"--expires-in={span}", code=2).stderr


def test_a_users_keys_are_listed(run: Run, client: Client) -> None:
    """For one user, or for all; the table shows the number that revoke wants, and never a key."""
    client.admin.post("/api/auth/users", json={"email": "ada@example.com"})
    made = json.loads(run("create", "--user", "ADA@example.com", "--name", "ci [x]", "--json").stdout)
    assert listed(run, "--user", "ada@example.com").keys() == {"default", "ci [x]"}
    assert listed(run)["admin"]["user"] == "the operator"
    table = run("list", "--user", "ada@example.com").stdout
    assert str(made["id"]) in table
    assert "ci [x]" in table
    assert made["key"] not in run("list", "--json").stdout + table


def test_what_is_not_there_is_said_in_a_sentence(run: Run, tmp_path: Path) -> None:
    """Exit code 1 and no traceback; a wrong directory is not made into a new server."""
    assert "User not found" in run("create", "--user", "nobody@x.org", code=1).stderr
    assert "User not found" in run("list", "--user", "nobody@x.org", code=1).stderr
    assert "Key not found" in run("revoke", "999", code=1).stderr
    run("revoke", "x", code=2)
    run("create", "--admin", "--user", "operator@localhost", code=2)
    run("create", "--name", "", code=2)
    elsewhere = CliRunner().invoke(group, ["--data", str(tmp_path / "typo"), "keys", "list"])
    assert (elsewhere.exit_code, (tmp_path / "typo").exists()) == (1, False)
    assert "--data" in elsewhere.stderr


def test_a_database_that_does_not_answer_is_said_in_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the sentence does not repeat the password in its URL."""
    url = "postgresql+psycopg://someone:hunter2@127.0.0.1:1/none"
    monkeypatch.setenv("YARDMASTER_DATABASE_URL", url)
    said = run("list", code=1).stderr
    assert "does not answer" in said
    assert "hunter2" not in said


def test_a_database_that_is_behind_is_not_touched(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrations run when the operator says so."""
    monkeypatch.setenv("YARDMASTER_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    assert "yardmaster migrate" in run("create", code=1).stderr
