"""Who the fuzzer calls as: a live credential for each security scheme, made anew whenever the fuzzing has ended it."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import requests

BASE = os.environ["CONTRACT_BASE_URL"]
ADMIN = os.environ["CONTRACT_ADMIN_KEY"]
COMMAND = [os.environ["CONTRACT_COMMAND"], "--data", os.environ["CONTRACT_DATA"], "users", "create"]
ORIGIN = {"Origin": BASE}
# Signed out, or no operator any more: the fuzzer does both.
LOST = {401, 403}
OK = 200
# Calls of this project wait for approval, each for so long.
GATED = "gated"
GATE = {"projects": [GATED], "models": None, "patterns": None, "min_cost": None}
HELD_S = 0.2
Headers = dict[str, str]


class Identities:
    """The credentials held so far, by scheme; each is tried before it is used again."""

    def __init__(self) -> None:
        self._held: dict[str, Headers] = {}
        self.org = ""
        self.box = ""
        self.group = ""

    def headers(self, security: list[Mapping[str, list[str]]]) -> Headers:
        """A credential that the operation takes: an operator's key where one does, else of its first scheme."""
        if any("admin" in roles for requirement in security for s, roles in requirement.items() if s.startswith("sy_")):
            return _bearer(ADMIN)
        scheme = next((scheme for requirement in security for scheme in requirement), "")
        return self._live(scheme) if scheme else {}

    def _live(self, scheme: str) -> Headers:
        make, look = MAKERS[scheme]
        held = self._held.get(scheme)
        if held is None or _status(look, held) in LOST:
            held = self._held[scheme] = make(self)
        return held

    def user_key(self) -> Headers:
        """The first key of a new user."""
        body = {"email": f"fuzz-{uuid.uuid4().hex}@example.com"}
        made = _post("/api/auth/signup", _bearer(ADMIN), json=body)
        return _bearer(made.json()["api_key"]["key"])

    def access_token(self) -> Headers:
        """A fleet token of a new operator, who owns an org; the last one's box and group are in no org of theirs."""
        self._held.pop("box_key", None)
        self.group = ""
        bearer = _bearer(_signed_in().json()["accessToken"])
        me = requests.get(f"{BASE}/api/auth/me", headers=bearer, timeout=10).json()
        self.org = me["memberships"][0]["org"]["id"]
        return bearer

    def spare_org(self, operator: Headers) -> str:
        """A new org of this operator's, which nobody misses."""
        return str(_post("/api/orgs", operator, json={"name": "Spare", "slug": uuid.uuid4().hex}).json()["id"])

    def spare_box(self, operator: Headers) -> str:
        """A new box of the operator's org, which nobody misses."""
        return str(_post(f"{self._org_path()}/boxes", operator, json=_box()).json()["box"]["id"])

    def cookie(self) -> Headers:
        """The session cookie of a new operator, sent from the server's own pages."""
        return {"Cookie": f"outsend_session={_signed_in().cookies['outsend_session']}", **ORIGIN}

    def desk_token(self) -> Headers:
        """A token of the service desk's super admin: a new operator, who is in one org, so that the tenant is clear."""
        operator = _bearer(_signed_in().json()["accessToken"])
        return _bearer(_post("/prod/api/v1/auth/token", operator).json()["access_token"])

    def desk_key(self) -> Headers:
        """A key of the service desk's super admin."""
        made = _post("/prod/api/v1/api-keys", self.desk_token(), json={"name": "fuzz"})
        return {"X-API-Key": made.json()["key"]}

    def box_key(self) -> Headers:
        """The key of a new box of the org."""
        made = _post(f"{self._org_path()}/boxes", self._live("stout_bearer"), json=_box()).json()
        self.box = made["box"]["id"]
        enrolled = _post("/api/box/enroll", {}, json={"token": made["setup"]["token"]}).json()
        return {"X-API-Key": enrolled["controlPlane"]["api_key"]}

    def places(self, names: Iterable[str]) -> dict[str, str]:
        """What path parameters of these names may lead to: the org, a box and a group of boxes of it that are there."""
        groups, owner = f"{self._org_path()}/box-groups", self._live("stout_bearer")
        if "boxId" in names:
            self._live("box_key")
        if "groupId" in names and _status(f"{groups}/{self.group}", owner) != OK:
            name = uuid.uuid4().hex
            self.group = _post(groups, owner, json={"name": name, "slug": name}).json()["id"]
        return {"orgId": self.org, "boxId": self.box, "groupId": self.group}

    def held_call(self) -> int:
        """The newest call held for approval, whose caller hung up by now: it waits until the server notices."""
        admin, gate = _bearer(ADMIN), f"{BASE}/api/proxy/modules/approvalgate"
        requests.put(gate, headers=admin, json={"enabled": True, "config": GATE}, timeout=10)
        call = {"model": "any", "messages": [{"role": "user", "content": uuid.uuid4().hex}]}
        at = {"url": f"{BASE}/v1/chat/completions", "headers": admin | {"X-Project": GATED}}
        with suppress(requests.Timeout):
            requests.post(json=call, timeout=HELD_S, **at)
        held = requests.get(f"{BASE}/api/proxy/approvals", headers=admin, params={"limit": 1}, timeout=10).json()
        return int(held["approvals"][0]["id"]) if held["approvals"] else 1

    def _org_path(self) -> str:
        """The org of the fleet's token, or of another one when the fuzzing has ended that org."""
        if _status(f"/api/orgs/{self.org}/boxes", self._live("stout_bearer")) != OK:
            self._held["stout_bearer"] = self.access_token()
        return f"/api/orgs/{self.org}"


# How a credential is made, and where one may look whether it still works.
MAKERS: Mapping[str, tuple[Callable[[Identities], Headers], str]] = {
    "sy_key": (Identities.user_key, "/api/auth/me"),
    "stout_bearer": (Identities.access_token, "/api/auth/me"),
    "outsend_session": (Identities.cookie, "/api/admin/users"),
    "desk_bearer": (Identities.desk_token, "/prod/api/v1/api-keys"),
    "desk_key": (Identities.desk_key, "/prod/api/v1/health"),
    "box_key": (Identities.box_key, "/api/box/me"),
}


def _bearer(key: str) -> Headers:
    return {"Authorization": f"Bearer {key}"}


def _status(path: str, headers: Headers) -> int:
    return requests.get(BASE + path, headers=headers, timeout=10).status_code


def _box() -> dict[str, str]:
    return {"name": uuid.uuid4().hex, "ipAddress": "192.0.2.17"}


def _post(path: str, headers: Headers, **options: Any) -> requests.Response:
    answer = requests.post(BASE + path, headers=headers, timeout=10, **options)
    answer.raise_for_status()
    return answer


def _signed_in() -> requests.Response:
    email = f"fuzz-{uuid.uuid4().hex}@example.com"
    made = subprocess.run([*COMMAND, email, "--admin", "--verified", "--json"], capture_output=True, check=True)
    return _post("/api/auth/login", {}, json={"email": email, "password": json.loads(made.stdout)["password"]})
