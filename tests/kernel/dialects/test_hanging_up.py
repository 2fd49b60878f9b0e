"""A client that hangs up: nothing is done with half a body, and nobody is answered."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from models.base import transaction
from support.callers import Client
from support.miniature.systems.things import Thing


@pytest.mark.parametrize("plane", ["things", "echo"])
async def test_half_a_body_does_nothing(client: Client, dialect: str, plane: str) -> None:
    """What arrived may be valid by accident; it is not what the client meant to send."""
    events = [
        {"type": "http.request", "body": b'{"name": "a", "size": 1}', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = await _serve(client, f"/{dialect}/{plane}", events)
    assert sent == []
    with transaction(client.application.runtime.engine, write=False) as session:
        assert session.scalar(select(func.count(Thing.id))) == 0


async def _serve(client: Client, path: str, events: list[dict[str, Any]]) -> list[Any]:
    headers = {"content-type": "application/json", **client.user.headers}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1),
    }
    pending, sent = iter(events), []

    async def receive() -> Any:
        return next(pending, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    await client.application(scope, receive, send)
    return sent
