"""Somebody who has something in every table that names a user: what an export tells and an erasure takes."""

from __future__ import annotations

from datetime import timedelta

from app.security.principals import Device
from app.services import accounts, joining, mfa, one_time, people, provider_keys, sessions
from app.services.accounts import Terms
from app.services.provider_keys import Brought
from app.services.rollups import record
from app.services.trace_record import TraceRecord
from models.answers import CachedAnswer
from models.audit import AuditEntry
from models.base import micros, now, session, transaction
from models.box_jobs import BoxJob
from models.boxes import AccessGrant, Box
from models.chat import ChatMemory
from models.desk import BulkJob, BulkRecord, DeskGroup, DeskGroupMember, DeskKey, Incident, IncidentNote
from models.idempotency import IdempotentCall
from models.identity import User
from models.mail import Mail
from models.observing import CohortMember, CostCell, UsualCall
from models.orgs import Invitation, Membership, Org, Team, TeamMember
from models.relays import RelayDelivery
from models.row_jobs import RowJob
from models.sessions import SshKey
from models.spend import SpendCap
from models.training import TrainingCall
from models.trust import TrustFeedback
from support.accounts import People
from support.approvals import held_call

SAID = "my secret recipe"


def furnish(made: People, user: User, org: Org) -> None:
    """Give the user, a member of the org beside others, one of everything."""
    secrets = made.client.application.runtime.secrets
    with transaction(made.engine):
        user = session().merge(user)
        people.make_personal_org(user)
        sessions.open_session(user, Device("browser", "192.0.2.7"), secrets)
        sessions.open_browser(user.id, secrets)
        for purpose in one_time.LIFETIMES:
            one_time.issue(user.id, purpose, secrets)
        key = accounts.add_key(user.id, Terms(), secrets).row
        mfa.set_up(user, secrets)
        mfa._new_backup_codes(user.id, secrets)
        provider_keys.save(user.id, "openai", Brought("sk-proj-0123456789abcdefghij", None), secrets)
        joining.issue_code(1, None, "", secrets, user.id)
        session().add(Mail(recipient=user.email, subject="Hello", body="", kind="verification", status="kept"))
        session().add(ChatMemory(user_id=user.id, project="default", turns=[["user", SAID]]))
        session().add(TrustFeedback(request_id="request", user_id=user.id, rating=1, comment=SAID))
        session().add(TrustFeedback(request_id="other", user_email=user.email, rating=1, comment=SAID))
        session().add(UsualCall(user_id=user.id, provider="sandbox", model="sandbox"))
        cell = {"project": "default", "feature": "", "template": "", "model": "sandbox", "user_id": user.id}
        session().add(CostCell(day=1, **cell, calls=1, unpriced=0, tokens=2, cost_nano=5))
        session().add(CohortMember(user_id=user.id, project="default"))
        line = {"number": 1, "digest": "0" * 32, "created_at": now()}
        session().add(TrainingCall(seq=1, trace_id="tr_" + "a" * 32, user_id=user.id, **line))
        session().add(SpendCap(user_id=user.id, daily_nano=5_000_000_000))
        kept = {"epoch": 0, "size": len(SAID), "expires_at": now() + timedelta(hours=1), "sealed": SAID}
        session().add(CachedAnswer(key=f"of {user.id}", user_id=user.id, **kept))
        _in_org(user, org)
        _calls(user, key.id)
        _acts(user, org)


def _in_org(user: User, org: Org) -> None:
    session().add(SshKey(user_id=user.id, name="laptop", public_key="ssh-ed25519 AAAA", fingerprint="SHA256:x"))
    team = Team(org_id=org.id, name="Lyon", slug="lyon")
    group = DeskGroup(org_id=org.id, name="Support", manager_id=user.id)
    job = BulkJob(org_id=org.id, user_id=user.id, email=user.email, kind="incidents", total=1)
    opened = {"created_at": now(), "updated_at": now(), "opened_by": user.email, "assigned_to": user.email}
    levels = {"priority": "P4", "impact": "low", "urgency": "low", "state": "New", "assignment_group": "Support"}
    incident = Incident(org_id=org.id, number="INC0000001", short_description="It is down", **opened, **levels)
    session().add_all([team, group, job, incident])
    session().flush()
    ends = now() + timedelta(days=1)
    key = DeskKey(org_id=org.id, user_id=user.id, name="k", prefix="desk_abc", key_hash="d" * 64, role="viewer")
    key.expires_at = ends
    invited = Invitation(org_id=org.id, email="new@example.com", role="member", token_hash="i" * 64, expires_at=ends)
    invited.invited_by_id = user.id
    told = Invitation(org_id=org.id, email=user.email, role="member", token_hash="j" * 64, expires_at=ends)
    note = IncidentNote(incident_id=incident.id, note="Seen", visibility="public", author=user.email)
    member = TeamMember(team_id=team.id, user_id=user.id), DeskGroupMember(group_id=group.id, user_id=user.id)
    box = Box(org_id=org.id, name="bench-1", ip_address="192.0.2.9")
    session().add(box)
    session().flush()
    grant = AccessGrant(org_id=org.id, box_id=box.id, user_id=user.id, granted_by_id=user.id)
    first = BulkRecord(job_id=job.id, position=0, payload="{}")
    ran = BoxJob(org_id=org.id, box_id=box.id, created_by_id=user.id, command="true", timeout_s=60, status="completed")
    rows = RowJob(owner_id=user.id, job_type="sort", lane="parallel", unit="rows", params="{}", units=0)
    session().add_all([rows, ran, key, invited, told, note, *member, first, grant])


def _calls(user: User, key_id: int) -> None:
    said = SAID.encode()
    about = {"error": SAID, "details": {"said": SAID}, "request_body": said, "response_body": b"\xff" + said}
    mine = {"user_id": user.id, "key_id": key_id, "cost_nano": 5}
    call = TraceRecord("tr_" + "a" * 32, micros(now()), "request", "chat", "sandbox", "sandbox", "ok", **mine, **about)
    record(session(), [call])
    kept = IdempotentCall(id="c" * 64, user_id=user.id, fingerprint="f" * 64, holder="h" * 32, sealed_answer=said)
    kept.expires_at = now() + timedelta(days=1)
    sent = {"uid": f"rd_{user.id}", "message": "m", "project": "default", "model": "sandbox", "max_tokens": 9}
    relayed = RelayDelivery(user_id=user.id, relay="tickets", sealed_prompt="v1.key.sealed", **sent)
    session().add_all([kept, held_call(user_id=user.id, preview=SAID), relayed])


def _acts(user: User, org: Org) -> None:
    spelt = user.email.upper()
    mine = {"actor_id": user.id, "actor_email": user.email, "ip_address": "192.0.2.7", "resource_type": "user"}
    session().add(AuditEntry(action="auth.login_failed", details={"email": spelt}, **mine))
    session().add(AuditEntry(action="box.register", org_id=org.id, details={"kept": "yes"}, **mine))
    about = {"people": [{"address": user.email}, "x" + user.email], "role": "member"}
    session().add(AuditEntry(action="member.add", resource_type="user", org_id=org.id, actor_id=1, details=about))


def join(made: People, org: Org, *users: User, role: str = "member") -> None:
    """Make them members."""
    with transaction(made.engine) as opened:
        opened.add_all(Membership(org_id=org.id, user_id=u.id, role=role, desk_role="viewer") for u in users)


def found(made: People, slug: str = "acme") -> Org:
    """A new org without a member."""
    with transaction(made.engine) as opened:
        org = Org(name=slug.title(), slug=slug)
        opened.add(org)
    return org
