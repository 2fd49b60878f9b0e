"""What tests of Stockyard's operations share: answers held against the document, and a second user."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from support.callers import Client
from support.envelopes import Refusals
from support.people import Person, Promised

Json = dict[str, Any]


@pytest.fixture
def promised(refused: Refusals) -> Promised:
    """Asserts a success: `promised(response, 201)` gives the body, which is what the document promises."""

    def check(response: Any, status: int = 200) -> Json:
        assert response.status_code == status, f"{response.status_code} {response.text}"
        match = refused.index.match(response.request.url.path)
        assert match is not None
        declared = match.methods[response.request.method].raw["responses"][str(status)]
        schema = declared["content"]["application/json"]["schema"]
        body: Json = response.json()
        jsonschema_rs.validate(schema | {"components": refused.document["components"]}, body, validate_formats=True)
        return body

    return check


@pytest.fixture
def ada(client: Client) -> Person:
    """A second user, ada@example.com, besides the first one."""
    made = client.admin.post("/api/auth/users", json={"email": "ada@example.com"}).json()
    key = made["api_key"]["key"]
    return Person(made["user"]["id"], client.bearing(key), made["api_key"]["id"], key)
