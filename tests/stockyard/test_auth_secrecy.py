"""Canary keys: after every use, they stand in no table, no file, no log and no later answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.factory import Application
from models.base import Base, transaction
from support.callers import Client
from support.people import Person

CANARY = "sk-canary-0123456789abcdefghij"
PATHS = ("/api/auth/me", "/api/auth/me/keys", "/api/auth/me/providers", "/api/auth/me/usage")


def use(client: Client, ada: Person) -> list[str]:
    """Make and use keys in every way there is; the plaintexts that must now be nowhere."""
    made = ada.caller.post("/api/auth/me/keys", json={"name": "ci"}).json()
    rotated = ada.caller.post(f"/api/auth/me/keys/{made['id']}/rotate").json()["new_key"]
    ada.caller.put("/api/auth/me/providers/openai", json={"api_key": CANARY})
    ada.caller.put("/api/auth/me/providers/x y", json={"api_key": CANARY})
    ada.caller.put("/api/auth/me/providers/openai", json={"api_key": CANARY + "\n"})
    ada.caller.post("/api/auth/me/keys", json={"name": CANARY, "scopes": CANARY})
    client.bearing(CANARY).get("/api/auth/me")
    return [ada.key, made["key"], rotated["key"], CANARY]


def test_no_table_holds_a_key(application: Application, client: Client, ada: Person) -> None:
    """A stolen copy of the database must open nothing."""
    plain = use(client, ada)
    with transaction(application.runtime.engine, write=False) as session:
        stored = "\n".join(str(row) for table in Base.metadata.sorted_tables for row in session.execute(select(table)))
    assert f"user_id={ada.id}" in stored or str(ada.id) in stored
    assert [key for key in plain if key in stored] == []


def test_no_file_holds_a_key(client: Client, ada: Person, tmp_path: Path) -> None:
    """Neither the database's file nor its log; only the operator's first key has a file of its own."""
    plain = [key.encode() for key in use(client, ada)]
    client.__exit__()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name not in {"admin.key", "secrets.json"}]
    assert [(path.name, key) for path in files for key in plain if key in path.read_bytes()] == []


def test_no_answer_and_no_log_repeats_a_key(client: Client, ada: Person, caplog: pytest.LogCaptureFixture) -> None:
    """A key is said once, in the answer that makes it."""
    plain = use(client, ada)
    answers: list[Any] = [ada.caller.get(path) for path in PATHS]
    answers += [client.admin.get(f"/api/auth/users/{ada.id}{path}") for path in ("", "/keys", "/providers")]
    assert {answer.status_code for answer in answers} == {200}
    said = caplog.text + "".join(answer.text for answer in answers)
    assert [key for key in plain if key in said] == []
