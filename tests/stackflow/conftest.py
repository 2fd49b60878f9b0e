"""A tenant of the service desk and the people of a test."""

from __future__ import annotations

import pytest

from models.orgs import Org
from support.accounts import People
from support.callers import Client
from support.desk import Desk, Person


@pytest.fixture
def desk(client: Client) -> Desk:
    """Makes tenants and people."""
    return Desk(client)


@pytest.fixture
def tenant(desk: Desk) -> Org:
    """A tenant."""
    return desk.tenant()


@pytest.fixture
def agent(desk: Desk, tenant: Org) -> Person:
    """An agent of the tenant."""
    return desk.person(tenant)


@pytest.fixture
def people(client: Client) -> People:
    """Makes people who sign in with a password."""
    return People(client)
