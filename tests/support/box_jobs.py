"""A small fleet for tests of jobs: an org with people of each role, boxes with keys, and what both ask."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any, cast

import httpx2 as httpx
from sqlalchemy import select

from app.security.keys import fingerprint, mint_box
from app.security.principals import Device as Where
from app.security.secrets import load_or_create
from app.services import sessions
from models.base import connect, now, transaction
from models.box_jobs import BoxJob
from models.boxes import ONLINE, AccessGrant, Box, BoxGroup, BoxGroupBox, Device
from models.identity import User
from models.orgs import Membership, Org
from support.callers import Caller, Client
from support.servers import Server

Json = dict[str, Any]


class Remote:
    """A running server as tests call it: over the network, and with its database at hand to put a bench into."""

    def __init__(self, server: Server, database_url: str = "") -> None:
        url = database_url or f"sqlite:///{server.data}/yardmaster.db"
        runtime = SimpleNamespace(engine=connect(url), secrets=load_or_create(server.data))
        self.application = SimpleNamespace(runtime=runtime)
        self._client = httpx.Client(base_url=server.base_url, timeout=60)
        self.anonymous = self.bearing()

    def bearing(self, key: str = "", **headers: str) -> Caller:
        """A caller with any key and headers."""
        credential = {"authorization": f"Bearer {key}"} if key else {}
        return Caller(cast("Any", self._client), **credential, **headers)

    def close(self) -> None:
        """Let go of the server and its database."""
        self._client.close()
        self.application.runtime.engine.dispose()


class Bench:
    """An org with an owner, an admin and two members, of whom `ada` may use the first box."""

    def __init__(self, client: Client | Remote) -> None:
        self.client = client
        self.engine = client.application.runtime.engine
        self.secrets = client.application.runtime.secrets
        with transaction(self.engine) as session:
            self.org = Org(name="Acme", slug="acme")
            session.add(self.org)
        self.owner, self.admin = self.person("owner"), self.person("admin")
        self.ada, self.bob = self.person("member", "ada"), self.person("member", "bob")
        self.box, self.key = self.add_box("bench-1")
        self.agent = self.agent_of(self.key)
        self.grant("ada", self.box)

    @property
    def jobs(self) -> str:
        """The path of the org's jobs."""
        return f"/api/orgs/{self.org.uid}/jobs"

    def person(self, role: str, name: str = "") -> Caller:
        """Somebody of the org, signed in."""
        name = name or role
        with transaction(self.engine) as session:
            user = User(email=f"{name}@example.com", name=name, email_verified=True)
            session.add(user)
            session.flush()
            session.add(Membership(org_id=self.org.id, user_id=user.id, role=role, desk_role="viewer"))
            token = sessions.open_session(user, Where("test", "127.0.0.1"), self.secrets).access
        return self.client.bearing(token)

    def add_box(self, name: str, *nets: str, **fields: Any) -> tuple[Box, str]:
        """An enrolled box, online, with these nets, and its key."""
        key = mint_box()
        values = {"status": ONLINE, "last_heartbeat_at": now(), "ip_address": "192.0.2.1"} | fields
        box = Box(org_id=self.org.id, name=name, key_hash=fingerprint(key, self.secrets.pepper), **values)
        with transaction(self.engine) as session:
            session.add(box)
            session.flush()
            session.add_all([Device(box_id=box.id, net_name=net, name=net, type="PowerSupply") for net in nets])
        return box, key

    def add_group(self, *boxes: Box) -> BoxGroup:
        """A group of these boxes."""
        group = BoxGroup(org_id=self.org.id, name="Benches", slug="benches")
        with transaction(self.engine) as session:
            session.add(group)
            session.flush()
            session.add_all([BoxGroupBox(group_id=group.id, box_id=box.id) for box in boxes])
        return group

    def grant(self, name: str, box: Box | None = None, group: BoxGroup | None = None) -> None:
        """Let a member use a box or a group."""
        with transaction(self.engine) as session:
            user = session.scalars(select(User).where(User.email == f"{name}@example.com")).one()
            target = {"box_id": box.id} if box else {"group_id": group.id if group else None}
            session.add(AccessGrant(org_id=self.org.id, user_id=user.id, **target))

    def agent_of(self, key: str) -> Caller:
        """A box, by its key."""
        return self.client.bearing(**{"x-api-key": key})

    def submit(self, caller: Caller | None = None, **fields: Any) -> Json:
        """A job, accepted."""
        body = {"boxId": self.box.uid, "command": "true"} | fields
        if "boxGroupId" in fields:
            del body["boxId"]
        if "script" in fields:
            del body["command"]
        answer = (caller or self.owner).post(self.jobs, json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def claim(self, agent: Caller | None = None, **body: Any) -> httpx.Response:
        """The answer to a box that asks for a job."""
        return (agent or self.agent).post("/api/box/jobs/claim", json=body)

    def running(self, **fields: Any) -> str:
        """The id of a job that the first box is at work on."""
        job = self.submit(**fields)
        assert self.claim().json()["jobId"] == job["id"]
        assert self.tell(job["id"], "ack").status_code == 200
        return str(job["id"])

    def tell(self, job_id: str, what: str, agent: Caller | None = None, **body: Any) -> httpx.Response:
        """What a box says of its job."""
        options = {"json": body} if body else {}
        return (agent or self.agent).post(f"/api/box/jobs/{job_id}/{what}", **options)

    def say(self, job_id: str, *lines: str, start: int = 0) -> httpx.Response:
        """Lines a job wrote."""
        chunks = [{"sequenceNum": start + n, "stream": "stdout", "line": line} for n, line in enumerate(lines)]
        return self.tell(job_id, "logs", chunks=chunks)

    def look(self, job_id: str, caller: Caller | None = None) -> Json:
        """The job as it is now."""
        answer = (caller or self.owner).get(f"{self.jobs}/{job_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def row(self, job_id: str) -> BoxJob:
        """The job as it is stored."""
        with transaction(self.engine, write=False) as session:
            return session.scalars(select(BoxJob).where(BoxJob.uid == job_id)).one()

    def change(self, job_id: str, **values: Any) -> None:
        """Change a stored job behind the server's back, as time would."""
        with transaction(self.engine) as session:
            row = session.scalars(select(BoxJob).where(BoxJob.uid == job_id)).one()
            for name, value in values.items():
                setattr(row, name, value)

    def announce(self, job_id: str, name: str = "report.txt", **fields: Any) -> Json:
        """An artifact, announced."""
        answer = self.tell(job_id, "artifacts", name=name, **fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def send(self, upload: Json, content: bytes) -> httpx.Response:
        """The file of an announced artifact, sent."""
        return self.client.anonymous.put(upload["uploadUrl"], content=content, headers=upload["headers"])

    def confirm(self, job_id: str, upload: Json, content: bytes) -> httpx.Response:
        """What was sent, confirmed."""
        told = {"sha256": hashlib.sha256(content).hexdigest(), "sizeBytes": len(content)}
        return self.tell(job_id, f"artifacts/{upload['artifact']['id']}/confirm", **told)
