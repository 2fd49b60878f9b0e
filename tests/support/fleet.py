"""An org with its people and boxes, as tests of the fleet want them."""

from __future__ import annotations

from typing import Any

from models.base import transaction
from models.orgs import DESK_ROLES, Membership, Org, Team, TeamMember
from support.accounts import People
from support.callers import Caller

Json = dict[str, Any]
NOWHERE = "00000000-0000-4000-8000-000000000000"


class Fleet:
    """One org: `owner` made it; `join` lets others in, `register` makes boxes, `enrol` gives them keys."""

    def __init__(self, people: People, slug: str = "acme") -> None:
        self.people = people
        with transaction(people.engine) as session:
            self.org = Org(name=slug.title(), slug=slug)
            session.add(self.org)
        self.path = f"/api/orgs/{self.org.uid}"
        self.ids: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self.owner = self.join(f"owner@{slug}.example", "owner")

    def join(self, email: str, role: str = "member", **fields: Any) -> Caller:
        """Somebody new in the org, signed in."""
        user = self.people.make(email, **fields)
        self.ids[email], self._numbers[email] = user.uid, user.id
        with transaction(self.people.engine) as session:
            session.add(Membership(org_id=self.org.id, user_id=user.id, role=role, desk_role=DESK_ROLES[role]))
        return self.people.enter(email).caller

    def number(self, email: str) -> int:
        """The database's number of somebody who joined."""
        return self._numbers[email]

    def team(self, slug: str, *emails: str) -> str:
        """The UUID of a new team with these people in it."""
        with transaction(self.people.engine) as session:
            team = Team(org_id=self.org.id, name=slug.title(), slug=slug)
            session.add(team)
            session.flush()
            session.add_all(TeamMember(team_id=team.id, user_id=self._numbers[email]) for email in emails)
        return team.uid

    def register(self, name: str = "bench-1", **fields: Any) -> Json:
        """A new box and its setup."""
        answer = self.owner.post(f"{self.path}/boxes", json={"name": name, "ipAddress": "192.0.2.17", **fields})
        assert answer.status_code == 201, answer.text
        made: Json = answer.json()
        return made

    def box(self, name: str = "bench-1", **fields: Any) -> str:
        """The path of a new box."""
        return f"{self.path}/boxes/{self.register(name, **fields)['box']['id']}"

    def enrol(self, setup: Json) -> Caller:
        """The box that exchanged the setup's token."""
        answer = self.people.anonymous.post("/api/box/enroll", json={"token": setup["token"]})
        assert answer.status_code == 201, answer.text
        return self.as_box(answer.json()["controlPlane"]["api_key"])

    def as_box(self, key: str) -> Caller:
        """A caller with this box key."""
        return self.people.client.bearing(**{"x-api-key": key})

    def group(self, slug: str = "power", **fields: Any) -> str:
        """The path of a new group of boxes."""
        answer = self.owner.post(f"{self.path}/box-groups", json={"name": slug.title(), "slug": slug, **fields})
        assert answer.status_code == 201, answer.text
        return f"{self.path}/box-groups/{answer.json()['id']}"
