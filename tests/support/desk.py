"""Tenants of the service desk and the people in them, each calling with a token of their role."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from app.security.tokens import DESK, sign
from app.services.desk import furnish
from models.base import transaction
from models.identity import User
from models.orgs import Membership, Org
from support.callers import Caller, Client

V1 = "/prod/api/v1"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a tenant. `caller` sends their token."""

    email: str
    id: str
    user_id: int
    org_id: int
    token: str = field(repr=False)
    caller: Caller = field(repr=False)

    def call(self, method: str, path: str, **options: Any) -> Any:
        """A request below the versioned prefix."""
        return self.caller.request(method, V1 + path, **options)

    def get(self, path: str, **params: Any) -> Json:
        """The body of a GET that succeeds."""
        answer = self.call("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def open(self, **fields: Any) -> Json:
        """A new incident."""
        answer = self.call("POST", "/incidents", json={"short_description": "It is down"} | fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def patch(self, incident: str, **fields: Any) -> Any:
        """The answer to a change of an incident."""
        return self.call("PATCH", f"/incidents/{incident}", json=fields)

    def bulk(self, *records: Json) -> str:
        """The id of an accepted job."""
        answer = self.call("POST", "/incidents/bulk", json={"records": list(records)})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def ended(self, job: str, within_s: float = 30) -> Json:
        """A job once it has ended."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            told = self.get(f"/bulk/jobs/{job}")
            if told["completed_at"]:
                return told
            time.sleep(0.05)
        raise AssertionError(f"the job has not ended: {told}")


class Desk:
    """Makes tenants and people."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.runtime = client.application.runtime

    def tenant(self, slug: str = "acme") -> Org:
        """A tenant with its first groups."""
        with transaction(self.runtime.engine) as session:
            org = Org(name=slug.title(), slug=slug)
            session.add(org)
            session.flush()
            furnish(org.id)
        return org

    def person(self, org: Org, role: str = "itsm_agent", email: str = "", **fields: Any) -> Person:
        """Somebody of the role in the tenant."""
        email = email or f"{role}@{org.slug}.example.com"
        with transaction(self.runtime.engine) as session:
            user = User(email=email, name=role, **fields)
            session.add(user)
            session.flush()
            session.add(Membership(org_id=org.id, user_id=user.id, role="member", desk_role=role))
        claims = {"sub": user.uid, "email": email, "custom:role": role, "custom:tenant_id": org.uid}
        token = sign(DESK, claims, self.runtime.secrets)
        shown = "usr_" + user.uid.replace("-", "")
        return Person(email, shown, user.id, org.id, token, self.client.bearing(token))
