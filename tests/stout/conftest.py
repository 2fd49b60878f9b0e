"""People of a test."""

from __future__ import annotations

import pytest

from support.accounts import CHEAP, People
from support.box_jobs import Bench
from support.callers import Client
from support.fleet import Fleet
from support.orgs import Orgs, Seat


@pytest.fixture
def people(client: Client, monkeypatch: pytest.MonkeyPatch) -> People:
    """Makes people and signs them in; their passwords are hashed cheaply, for what is tested here is not hashing."""
    monkeypatch.setattr("app.security.passwords._HASHER", CHEAP)
    return People(client)


@pytest.fixture
def orgs(client: Client) -> Orgs:
    """Makes orgs and the people in them."""
    return Orgs(client)


@pytest.fixture
def owner(orgs: Orgs) -> Seat:
    """The one owner of Test Bench."""
    return orgs.seat(orgs.make(), "owner")


@pytest.fixture
def bench(client: Client) -> Bench:
    """An org with people and a box, for jobs."""
    return Bench(client)


@pytest.fixture
def fleet(people: People) -> Fleet:
    """An org with an owner and no boxes yet."""
    return Fleet(people)
