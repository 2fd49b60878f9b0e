"""Somebody signed in at a real server, with jobs there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import requests

from app.security.secrets import load_or_create
from app.services import sessions
from app.settings import Settings
from models.base import connect, transaction
from models.identity import User
from support.servers import Server

Json = dict[str, Any]


@dataclass
class Remote:
    """Sends requests with a session."""

    server: Server
    cookie: str

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request."""
        headers = {"Cookie": f"outsend_session={self.cookie}", "Origin": self.server.base_url}
        return requests.request(
            method, self.server.base_url + path, headers=headers | options.pop("headers", {}), timeout=60, **options
        )

    def create(self, slug: str, **body: Any) -> str:
        """The id of a job that was accepted."""
        answer = self.request("POST", f"/api/jobs/{slug}", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def stream(self, uid: str) -> requests.Response:
        """A stream, open."""
        return self.request("GET", f"/api/jobs/{uid}/stream", stream=True)

    def ended(self, uid: str, within_s: float = 60.0) -> Json:
        """A job once it is done."""
        deadline = time.monotonic() + within_s
        while (shown := self.request("GET", f"/api/jobs/{uid}").json())["status"] in {"pending", "running"}:
            assert time.monotonic() < deadline, shown
            time.sleep(0.1)
        assert shown["status"] == "done", shown
        return dict(shown)


def signed_in(server: Server, number: int = 0, database_url: str = "") -> Remote:
    """Somebody new at a server."""
    engine = connect(Settings(data=server.data, database_url=database_url).database)
    secrets = load_or_create(server.data)
    with transaction(engine) as session:
        user = User(email=f"somebody{number}@example.com", name="Somebody", email_verified=True)
        session.add(user)
        session.flush()
        cookie = sessions.open_browser(user.id, secrets)
    engine.dispose()
    return Remote(server, cookie)
