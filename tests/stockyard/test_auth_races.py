"""Many at once: exactly one wins where one must, and nobody is answered with a 500."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import func, select

from app.factory import Application, create
from app.gateway.personal import owner
from app.security.sealing import unseal
from app.services.bootstrap import FirstKeys
from app.settings import Settings
from models.base import transaction
from models.identity import ApiKey, ProviderKey, User
from support.callers import Client
from support.people import Person

AT_ONCE = 20
KEYS = "/api/auth/me/keys"


def at_once(send: Callable[[int], Any]) -> list[Any]:
    """The answers of twenty requests sent in the same moment."""
    ready = Barrier(AT_ONCE)

    def one(number: int) -> Any:
        ready.wait()
        return send(number)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


def statuses(answers: list[Any]) -> dict[int, int]:
    """How often each status was answered."""
    return Counter(answer.status_code for answer in answers)


@pytest.mark.parametrize("overlap", [0, 60])
def test_of_twenty_rotations_of_a_key_one_wins(application: Application, client: Client, overlap: int) -> None:
    """Two winners would leave a key nobody knows of."""
    made = client.user.post(KEYS, json={"name": "ci"}).json()
    body = {"overlap_seconds": overlap}
    answers = at_once(lambda _: client.user.post(f"{KEYS}/{made['id']}/rotate", json=body))
    assert statuses(answers) == {200: 1, 404: AT_ONCE - 1}
    with transaction(application.runtime.engine, write=False) as session:
        named = select(func.count(ApiKey.id)).where(ApiKey.name == "ci", ApiKey.revoked_at.is_(None))
        assert session.scalar(named) == 1


def test_of_twenty_keys_of_one_name_one_is_made(client: Client) -> None:
    """The rest are conflicts, not failures."""
    answers = at_once(lambda _: client.user.post(KEYS, json={"name": "ci"}))
    assert statuses(answers) == {201: 1, 409: AT_ONCE - 1}


def test_of_twenty_accounts_of_one_address_one_is_made(application: Application, client: Client) -> None:
    """And the losers leave no key behind."""
    answers = at_once(lambda n: client.admin.post("/api/auth/users", json={"email": f"{'aA'[n % 2]}da@x.org"}))
    assert statuses(answers) == {201: 1, 409: AT_ONCE - 1}
    with transaction(application.runtime.engine, write=False) as session:
        assert session.scalar(select(func.count(User.id))) == 2
        assert session.scalar(select(func.count(ApiKey.id))) == 3


def test_of_twenty_revocations_one_finds_the_key(client: Client) -> None:
    """Each revocation is reported once."""
    made = client.user.post(KEYS, json={"name": "ci"}).json()
    answers = at_once(lambda _: client.user.delete(f"{KEYS}/{made['id']}"))
    assert statuses(answers) == {200: 1, 404: AT_ONCE - 1}


def test_a_key_is_either_rotated_or_revoked(client: Client) -> None:
    """A rotation that overtook a revocation would bring the key back under a new secret."""
    made = client.user.post(KEYS, json={"name": "ci"}).json()
    path = f"{KEYS}/{made['id']}"
    answers = at_once(lambda n: client.user.delete(path) if n % 2 else client.user.post(f"{path}/rotate"))
    assert statuses(answers) == {200: 1, 404: AT_ONCE - 1}


def test_of_twenty_keys_for_a_provider_one_is_kept_whole(application: Application, client: Client) -> None:
    """Whoever is last counts; nobody is told off."""
    answers = at_once(lambda n: client.user.put("/api/auth/me/providers/openai", json={"api_key": f"sk-{n}"}))
    assert statuses(answers) == {200: AT_ONCE}
    with transaction(application.runtime.engine, write=False) as session:
        row = session.scalars(select(ProviderKey)).one()
    assert unseal(row.sealed_key, owner(1, "openai"), application.runtime.secrets).startswith("sk-")


def test_two_workers_rotate_one_key(client: Client, ada: Person, settings: Settings, document: dict[str, Any]) -> None:
    """The database decides, not a lock in one process."""
    with Client(create(settings, document), FirstKeys()) as other:
        callers = (ada.caller, other.bearing(ada.key))
        path = f"{KEYS}/{ada.key_id}/rotate"
        answers = at_once(lambda n: callers[n % 2].post(path, json={"overlap_seconds": 60}))
    assert statuses(answers) == {200: 1, 404: AT_ONCE - 1}
