"""Migrations of a database that is in use: what is in it stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from app.settings import Settings
from models.base import connect
from models.migrations import revisions
from models.migrations.applying import configured

BEFORE = "0005"
ROWS = (
    (
        "INSERT INTO orgs (id, uid, name, slug, is_personal, created_at, updated_at) "
        "VALUES (7, 'o7', 'Lab', 'lab', false, 1, 1)"
    ),
    (
        "INSERT INTO memberships (org_id, user_id, role, desk_role, joined_at, updated_at) "
        "SELECT 7, id, 'owner', 'viewer', 2, 2 FROM users"
    ),
    (
        "INSERT INTO invitations (uid, org_id, email, role, status, token_hash, expires_at, created_at, accepted_at) "
        "VALUES ('i1', 7, 'a@example.com', 'member', 'pending', 'a', 9, 3, NULL), "
        "('i2', 7, 'b@example.com', 'member', 'accepted', 'b', 9, 3, 5)"
    ),
    (
        "INSERT INTO audit_entries (uid, org_id, actor_type, action, resource_type, details, request_id, created_at) "
        "VALUES ('a1', 7, 'user', 'org.create', 'org', '{}', 'r', 1)"
    ),
)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """A database as it was before orgs could be listed, with an org in it."""
    opened = connect(settings.database)
    command.downgrade(configured(opened), BEFORE)
    with opened.begin() as connection:
        for row in ROWS:
            connection.execute(text(row))
    yield opened
    opened.dispose()


def rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    """What a query finds."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_orgs_keep_their_people_and_invitations(engine: Engine) -> None:
    """Memberships get an id of their own each, invitations the moment of their last change."""
    command.upgrade(configured(engine), "head")
    [(uid, role)] = rows(engine, "SELECT uid, role FROM memberships")
    assert (len(str(uid)), role) == (36, "owner")
    assert rows(engine, "SELECT uid, updated_at FROM invitations ORDER BY uid") == [("i1", 3), ("i2", 5)]


def test_the_audit_log_outlives_the_org(engine: Engine) -> None:
    """Deleting the org took its log along before."""
    command.upgrade(configured(engine), "head")
    assert rows(engine, "SELECT org_id FROM audit_entries") == [(7,)]
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM orgs"))
    assert rows(engine, "SELECT uid, org_id FROM audit_entries") == [("a1", None)]
    assert rows(engine, "SELECT id FROM memberships") == []


def test_the_files_are_the_chain() -> None:
    """A start tells from the names of the files alone whether there is anything to apply."""
    chain = ScriptDirectory.from_config(configured()).walk_revisions()
    assert revisions() == [script.revision for script in chain][::-1]
