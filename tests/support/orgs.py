"""Orgs of the fleet and the people in them, each calling with an access token."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

from app.security.principals import Device
from app.services import sessions
from models.base import transaction
from models.identity import User
from models.orgs import DESK_ROLES, Membership, Org
from support.callers import Caller, Client

Json = dict[str, Any]
DEVICE = Device("test", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Seat:
    """Somebody in an org, or a stranger who asks for it. `caller` sends their token."""

    org: Org
    user: User
    caller: Caller = field(repr=False)

    def ask(self, method: str, path: str = "", **options: Any) -> Any:
        """A request below the org's address."""
        return self.caller.request(method, f"/api/orgs/{self.org.uid}{path}", **options)

    def get(self, path: str = "", **params: Any) -> Json:
        """The body of a GET that succeeds."""
        answer = self.ask("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def post(self, path: str, **body: Any) -> Json:
        """The body of a POST that succeeds."""
        answer = self.ask("POST", path, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def acts(self, **params: Any) -> list[tuple[str, str]]:
        """The audit log's actions and whom or what they were done to, newest first."""
        return [(entry["action"], entry["resourceId"]) for entry in self.get("/audit-log", **params)["items"]]


class Orgs:
    """Makes orgs and people."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.runtime = client.application.runtime
        self._number = count(1)

    def make(self, slug: str = "test-bench") -> Org:
        """An org."""
        with transaction(self.runtime.engine) as session:
            org = Org(name=slug.replace("-", " ").title(), slug=slug)
            session.add(org)
        return org

    def seat(self, org: Org, role: str = "", email: str = "", **fields: Any) -> Seat:
        """Somebody new who is signed in, in the org as `role`, or a stranger to it without one."""
        email = email or f"{role or 'stranger'}{next(self._number)}@example.com"
        values = {"name": email.partition("@")[0].title(), "email_verified": True} | fields
        with transaction(self.runtime.engine) as session:
            user = User(email=email, **values)
            session.add(user)
            session.flush()
            if role:
                session.add(Membership(org_id=org.id, user_id=user.id, role=role, desk_role=DESK_ROLES[role]))
        return Seat(org, user, self.client.bearing(self.token(user)))

    def token(self, user: User) -> str:
        """An access token of a new session."""
        with transaction(self.runtime.engine):
            return sessions.open_session(user, DEVICE, self.runtime.secrets).access

    def elsewhere(self, seat: Seat, org: Org, role: str) -> Seat:
        """The same person in another org, too."""
        with transaction(self.runtime.engine) as session:
            session.add(Membership(org_id=org.id, user_id=seat.user.id, role=role, desk_role=DESK_ROLES[role]))
        self.runtime.authenticator.forget()
        return Seat(org, seat.user, seat.caller)
