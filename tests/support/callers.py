"""Callers of an application in this process: its life around a test, and requests with a credential."""

from __future__ import annotations

from typing import Any, Self

import httpx2 as httpx
from starlette.testclient import TestClient

from app.factory import Application
from app.services.bootstrap import FirstKeys

ORIGIN = "http://127.0.0.1:4200"


class Caller:
    """Sends requests with its own headers; every method answers an httpx response, refusals included."""

    def __init__(self, client: TestClient, **headers: str) -> None:
        self._client = client
        self.headers = headers

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request; the options are httpx's (`params`, `json`, `content`, `headers`)."""
        headers = self.headers | dict(options.pop("headers", None) or {})
        return self._client.request(method, path, headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **options)

    def head(self, path: str, **options: Any) -> httpx.Response:
        """HEAD."""
        return self.request("HEAD", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST."""
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        """PUT."""
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> httpx.Response:
        """PATCH."""
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        """DELETE."""
        return self.request("DELETE", path, **options)


class Client:
    """A started application and its callers."""

    def __init__(self, application: Application, keys: FirstKeys) -> None:
        self.application = application
        self._client = TestClient(application, ORIGIN, client=("127.0.0.1", 50000), follow_redirects=False)
        self.anonymous = self.bearing()
        self.admin = self.bearing(keys.admin)
        self.user = self.bearing(keys.user)

    def bearing(self, key: str = "", **headers: str) -> Caller:
        """A caller with any key and headers."""
        credential = {"authorization": f"Bearer {key}"} if key else {}
        return Caller(self._client, **credential, **headers)

    def __enter__(self) -> Self:
        self._client.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._client.__exit__()
        self.application.runtime.engine.dispose()  # connections that are only forgotten are warnings elsewhere
