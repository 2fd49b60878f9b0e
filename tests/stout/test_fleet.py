"""Stout's health check."""

from __future__ import annotations

import pytest

from support.callers import Client
from support.databases import lose
from support.envelopes import Refusals


def test_the_fleet_is_well_while_its_database_answers(client: Client) -> None:
    """A monitor reads one word."""
    answer = client.anonymous.get("/healthz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok"}


def test_a_lost_database_is_told_by_503(client: Client, refused: Refusals) -> None:
    """A process that answers while it cannot work must not receive traffic."""
    lose(client.application.runtime.engine)
    answer = client.anonymous.get("/healthz")
    body = refused(answer, 503)
    assert body["error"] == "Service Unavailable"
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.settings(rate_limits="on")
def test_health_checks_are_not_limited(client: Client) -> None:
    """A monitor behind one address with busy users must not be told that the server is gone."""
    assert {client.anonymous.get("/healthz").status_code for _ in range(150)} == {200}
