"""People who own jobs, and a job type whose units wait for the test."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

import pytest

from app.services.row_jobs import execution, submission
from support.accounts import CHEAP, People
from support.callers import Client
from support.row_jobs import Gate, Owner


@pytest.fixture
def people(client: Client, monkeypatch: pytest.MonkeyPatch) -> People:
    """Makes people and signs them in; their passwords are hashed cheaply, for what is tested here is not hashing."""
    monkeypatch.setattr("app.security.passwords._HASHER", CHEAP)
    return People(client)


@pytest.fixture
def owner(people: People) -> Owner:
    """Somebody who may create jobs."""
    return Owner(people, "ada@example.com")


@pytest.fixture
def other(people: People) -> Owner:
    """Somebody else."""
    return Owner(people, "bob@example.com")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The type `techstack`, which waits; it is let through at the end of the test."""
    made = Gate()
    types = MappingProxyType({**submission.TYPES, "techstack": made.kind()})
    for module in (submission, execution):
        monkeypatch.setattr(module, "TYPES", types)
    yield made
    made.open.set()
