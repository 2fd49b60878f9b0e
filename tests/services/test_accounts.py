"""Accounts and keys below the wire: what the command line and later dialects rely on."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from app.factory import Application
from app.problems import Problem
from app.services import accounts
from app.services.accounts import Issued, Terms
from app.services.key_use import KeyUse
from models.base import now, session, transaction
from models.gateway import Revision
from models.identity import ApiKey
from support.databases import lose


def revision() -> int:
    """The number that tells workers of a change."""
    return session().scalar(select(Revision.number)) or 0


def test_a_key_prints_without_its_secret(application: Application) -> None:
    """Records end up in logs; so their repr must be harmless."""
    with transaction(application.runtime.engine):
        _, issued = accounts.add_user("a@x.org", application.runtime.secrets)
        assert issued.key.startswith("sy_")
        assert issued.key not in repr(issued)


def test_every_change_tells_the_other_workers(application: Application) -> None:
    """A change without it would leave a revoked key alive elsewhere for a minute."""
    secrets = application.runtime.secrets
    with transaction(application.runtime.engine):
        seen = [revision()]
        user, first = accounts.add_user("a@x.org", secrets)
        seen.append(revision())
        second = accounts.add_key(user.id, Terms("b"), secrets)
        seen.append(revision())
        third = accounts.rotate_key(user.id, second.row.id, secrets, Terms())
        seen.append(revision())
        accounts.revoke_key(user.id, third.row.id)
        seen.append(revision())
        accounts.end_key(first.row.id)
        seen.append(revision())
        accounts.add_admin_key("ops", None, secrets)
        seen.append(revision())
    assert len(set(seen)) == len(seen)


def test_a_refused_change_leaves_nothing(application: Application) -> None:
    """Half an account would block the address for good."""
    secrets = application.runtime.secrets
    with transaction(application.runtime.engine):
        accounts.add_user("a@x.org", secrets)
    with pytest.raises(Problem, match="exists"), transaction(application.runtime.engine):
        accounts.add_user(" A@x.org", secrets)
    with transaction(application.runtime.engine, write=False):
        assert session().scalar(select(func.count()).select_from(accounts.find_users("a@").subquery())) == 1


def test_admin_keys_have_names_of_their_own(application: Application) -> None:
    """No database rule covers them, for they belong to nobody."""
    secrets = application.runtime.secrets
    with transaction(application.runtime.engine):
        assert accounts.free_name("admin", None) == "admin-2"
        made = accounts.add_admin_key("ops", now() + timedelta(days=1), secrets)
        assert (made.row.user_id, made.row.role, made.key[:9]) == (None, "admin", "sy_admin_")
        with pytest.raises(Problem, match="name"):
            accounts.add_admin_key("ops", None, secrets)
        accounts.end_key(made.row.id)
        assert isinstance(accounts.add_admin_key("ops", None, secrets), Issued)


def test_keys_are_found_for_one_user_or_for_all(application: Application) -> None:
    """The command line lists operators' keys too."""
    with transaction(application.runtime.engine):
        user, issued = accounts.add_user("a@x.org", application.runtime.secrets)
        mine = session().scalars(accounts.find_keys(user.id)).all()
        everybodys = session().scalars(accounts.find_keys()).all()
    assert [key.id for key in mine] == [issued.row.id]
    assert [key.role for key in everybodys] == ["admin", "user", "user"]


async def test_the_use_of_keys_survives_an_outage(application: Application) -> None:
    """What cannot be written now is kept, and a newer use is never overwritten by it."""
    runtime = application.runtime
    writer = KeyUse(runtime)
    runtime.authenticator.used = {1: 100.0, 2: 100.0}
    await asyncio.to_thread(lose, runtime.engine)
    await writer.flush()
    assert runtime.authenticator.used == {1: 100.0, 2: 100.0}
    await asyncio.to_thread(runtime.engine.dispose)


async def test_an_older_use_never_sets_a_newer_one_back(application: Application) -> None:
    """Two workers write in any order."""
    runtime = application.runtime
    writer = KeyUse(runtime)
    for at in (200.0, 100.0):
        runtime.authenticator.used = {1: at, 99: at}
        await writer.flush()
    with transaction(runtime.engine, write=False) as opened:
        stored = opened.scalars(select(ApiKey.last_used).where(ApiKey.id == 1)).one()
    assert stored is not None
    assert stored.timestamp() == 200.0
    await asyncio.to_thread(runtime.engine.dispose)


def test_terms_default_to_what_the_asking_key_may() -> None:
    """A narrow key makes narrow keys without saying so."""
    assert Terms(held=frozenset({"auth:read", "auth"})).granted() == "auth,auth:read"
    assert Terms(scopes="gateway").granted() == "gateway"
