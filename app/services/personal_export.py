"""A copy of everything kept about a person (GDPR article 15), written section by section and never held whole.

A section is one entry of `SECTIONS`: what a domain keeps about its users belongs there. What is told is named column by
column, so that no secret and no hash of one gets out because a table gained a column.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import Engine, Select, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from app.gateway.money import usd
from app.services import audit, chat_memory, sessions
from app.services.vault.closing import REQUEST, RESPONSE
from app.services.vault.opening import Opener
from models.approvals import HeldCall
from models.audit import AuditEntry
from models.base import EPOCH, now, session, transaction
from models.box_jobs import BoxJob
from models.boxes import AccessGrant
from models.chat import ChatMemory
from models.desk import BulkJob, DeskGroup, DeskGroupMember, DeskKey
from models.identity import ApiKey, ProviderKey, User
from models.mail import Mail
from models.orgs import Invitation, Membership, Org, Team, TeamMember
from models.relays import RelayDelivery
from models.row_jobs import RowJob
from models.sessions import CookieSession, InvitationCode, RefreshSession, SshKey
from models.spend import SpendCap
from models.traces import SpendRollup, Trace, TraceBody
from models.training import TrainingCall
from models.trust import TrustFeedback

Json = dict[str, Any]
Query = Select[*tuple[Any, ...]]
Rows = Callable[[User], Query]
WRITTEN = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS
AT_ONCE = 200
ACCOUNT = """
id uid email name tier is_admin is_active email_verified mfa_enabled locale created_at updated_at last_login_at
"""


@dataclass(frozen=True, slots=True)
class Section:
    """An array of the document: the columns of a user's rows that are told, each under its label.

    `key` numbers a user's rows, which come in its order and `at_once` in one transaction. `tell` puts a row into words
    where its columns are none.
    """

    name: str
    key: InstrumentedAttribute[int]
    rows: Rows
    tell: Callable[[Json], Json] = dict
    at_once: int = AT_ONCE

    def some(self, user: User, after: int) -> list[tuple[int, Json]]:
        """The next rows, each with its number."""
        query = self.rows(user).add_columns(self.key.label("_at")).where(self.key > after)
        found = session().execute(query.order_by(self.key).limit(self.at_once)).mappings()
        return [(told.pop("_at"), self.tell(told)) for told in map(dict, found)]


def begin(engine: Engine, user_id: int) -> User:
    """Whose copy it will be; that it was asked for is written down. A 401 Problem when the account is gone."""
    with transaction(engine):
        user = sessions.hold(user_id)
        audit.note("user.export", "user", user.uid)
    return user


def pieces(engine: Engine, user: User) -> Iterator[bytes]:
    """The document. Each piece is read in a transaction of its own, so that a slow reader keeps none open."""
    account = {name: getattr(user, name) for name in ACCOUNT.split()}
    yield b'{"exported_at":%b,"account":%b' % (_json(now()), _json(account))
    for section in SECTIONS:
        yield b",%b:[" % _json(section.name)
        yield from _array(engine, user, section)
        yield b"]"
    yield b"}"


async def stream(engine: Engine, user: User) -> AsyncIterator[bytes]:
    """The same, without the event loop waiting for the database."""
    document = pieces(engine, user)
    while piece := await asyncio.to_thread(next, document, b""):
        yield piece


def _array(engine: Engine, user: User, section: Section) -> Iterator[bytes]:
    last, comma, full = -1, b"", True
    while full:
        with transaction(engine, write=False):
            some = section.some(user, last)
        if some:
            yield comma + b",".join(_json(told) for _, told in some)
            last, comma = some[-1][0], b","
        full = len(some) == section.at_once


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=_text, option=WRITTEN)


def _text(raw: bytes) -> str:
    """A body may have been cut inside a character."""
    return raw.decode("utf-8", "replace")


def _own(person: InstrumentedAttribute[Any], names: str) -> Rows:
    """These columns of the rows in which `person`, a number or an address, is the user's."""
    columns = [getattr(person.class_, name) for name in names.split()]
    by_address = person.type.python_type is str
    return lambda user: select(*columns).where(person == (user.email if by_address else user.id))


def _organizations(user: User) -> Query:
    told = (Org.uid.label("id"), Org.name, Org.slug, Org.is_personal, Membership.role, Membership.desk_role)
    joined = select(*told, Membership.joined_at).join_from(Membership, Org)
    return joined.where(Membership.user_id == user.id)


def _teams(user: User) -> Query:
    joined = select(Team.uid.label("id"), Team.name, TeamMember.joined_at).join_from(TeamMember, Team)
    return joined.where(TeamMember.user_id == user.id)


def _desk_groups(user: User) -> Query:
    joined = select(DeskGroup.uid.label("id"), DeskGroup.name).join_from(DeskGroupMember, DeskGroup)
    return joined.where(DeskGroupMember.user_id == user.id)


def _invitations(user: User) -> Query:
    told = (Org.name.label("organization"), Invitation.role, Invitation.status, Invitation.created_at)
    return select(*told).join_from(Invitation, Org).where(Invitation.email == user.email)


def _calls(user: User) -> Query:
    names = "id created_at operation provider model status stream tokens_in tokens_out cost_nano project tags details"
    told = (*(getattr(Trace, name) for name in names.split()), TraceBody.request, TraceBody.response)
    return select(*told).outerjoin_from(Trace, TraceBody, TraceBody.seq == Trace.seq).where(Trace.user_id == user.id)


def _spend(user: User) -> Query:
    sums = ("requests", "tokens_in", "tokens_out", "cost_nano")
    told = (func.sum(getattr(SpendRollup, name)).label(name) for name in sums)
    mine = select(SpendRollup.day, *told).where(SpendRollup.scope == "user", SpendRollup.ref == str(user.id))
    return mine.group_by(SpendRollup.day)


def _feedback(user: User) -> Query:
    """What they said with their own key, and what an operator noted under their address."""
    told = (getattr(TrustFeedback, name) for name in ["request_id", "rating", "comment", "tags", "created_at"])
    return select(*told).where(or_(TrustFeedback.user_id == user.id, TrustFeedback.user_email == user.email))


def _priced(told: Json) -> Json:
    nano = told.pop("cost_nano")
    return told | {"cost_usd": None if nano is None else usd(int(nano))}


def _called(told: Json) -> Json:
    """A call in the clear; what no key of this server opens is named instead."""
    opener, id_ = Opener(session()), told["id"]
    bodies = {part: opener.body(id_, part, told[part]) for part in (REQUEST, RESPONSE)}
    shown = _priced(told | bodies | {"details": opener.details(id_, told["details"])})
    return shown | ({"sealed": opener.shut} if opener.shut else {})


def _remembered(told: Json) -> Json:
    opener, own = Opener(session()), chat_memory.whose(told.pop("user_id"), told["project"])
    shown = told | {"turns": opener.turns(told["turns"], own)}
    return shown | ({"sealed": ["turns"]} if opener.shut else {})


def _by_day(told: Json) -> Json:
    """PostgreSQL sums integers into decimals."""
    figures: Mapping[str, int] = {name: int(value) for name, value in told.items()}
    return _priced(dict(figures)) | {"day": (EPOCH + timedelta(days=figures["day"])).date()}


def _capped(told: Json) -> Json:
    amounts = {f"{name}_usd": usd(told.pop(f"{name}_nano")) for name in ("daily", "monthly")}
    return amounts | told


SECTIONS = (
    Section("organizations", Membership.id, _organizations),
    Section("teams", TeamMember.team_id, _teams),
    Section("invitations", Invitation.id, _invitations),
    Section(
        "sessions",
        RefreshSession.id,
        _own(
            RefreshSession.user_id,
            "uid family user_agent ip_address created_at last_used_at expires_at rotated_at revoked_at revoke_reason",
        ),
    ),
    Section("browser_sessions", CookieSession.id, _own(CookieSession.user_id, "created_at last_seen_at expires_at")),
    Section("ssh_keys", SshKey.id, _own(SshKey.user_id, "uid name public_key fingerprint created_at")),
    Section(
        "api_keys",
        ApiKey.id,
        _own(ApiKey.user_id, "id name key_prefix scopes created_at expires_at last_used revoked_at"),
    ),
    Section("provider_keys", ProviderKey.id, _own(ProviderKey.user_id, "provider base_url created_at")),
    Section("service_desk_groups", DeskGroupMember.group_id, _desk_groups),
    Section(
        "service_desk_keys",
        DeskKey.id,
        _own(DeskKey.user_id, "uid name prefix role created_at expires_at last_used_at revoked_at"),
    ),
    Section(
        "service_desk_jobs",
        BulkJob.id,
        _own(BulkJob.user_id, "uid kind status total created_at started_at completed_at"),
    ),
    Section(
        "invitation_codes",
        InvitationCode.id,
        _own(InvitationCode.created_by_id, "id hint note max_uses uses created_at expires_at"),
    ),
    # Their bodies hold tokens.
    Section(
        "box_jobs", BoxJob.id, _own(BoxJob.created_by_id, "uid command args status exit_code created_at finished_at")
    ),
    Section("jobs", RowJob.id, _own(RowJob.owner_id, "uid job_type status created_at started_at completed_at")),
    Section("box_access", AccessGrant.id, _own(AccessGrant.user_id, "uid created_at")),
    Section("mails", Mail.id, _own(Mail.recipient, "subject kind status created_at sent_at")),
    Section("chat_memory", ChatMemory.id, _own(ChatMemory.user_id, "user_id project turns updated_at"), _remembered),
    Section("held_calls", HeldCall.id, _own(HeldCall.user_id, "project model status preview created_at ended_at")),
    Section(
        "relay_deliveries",
        RelayDelivery.id,
        _own(RelayDelivery.user_id, "uid relay project model status created_at ended_at"),
    ),
    Section("model_calls", Trace.seq, _calls, _called, at_once=20),
    Section("training_data", TrainingCall.seq, _own(TrainingCall.user_id, "trace_id created_at number")),
    Section("feedback", TrustFeedback.id, _feedback),
    Section("spend", SpendRollup.day, _spend, _by_day),
    Section("spend_cap", SpendCap.user_id, _own(SpendCap.user_id, "daily_nano monthly_nano soft updated_at"), _capped),
    Section(
        "activity",
        AuditEntry.id,
        _own(AuditEntry.actor_id, "uid action resource_type resource_id details ip_address created_at"),
    ),
)
# What names a user and is not told, and why.
UNTOLD: Mapping[str, str] = {
    "row_job_streams": "Who watches a job at this moment.",
    "idempotent_calls": "Answers kept for a day for a call that is repeated; the calls themselves are told.",
    "usual_calls": "Means of cost, size and hour of calls that are told one by one.",
    "cohort_members": "The project of the first of the calls that are told one by one.",
    "cost_cells": "Sums by day and model of calls that are told one by one.",
    "cached_answers": "Copies of answers to model calls, for an hour or so.",
    "one_time_tokens": "Secrets that wait for their one use.",
    "backup_codes": "Secrets that stand in for a second factor.",
    "desk_groups": "Who manages a group is the org's to tell.",
    "incidents": "Tickets are records of an org, which answers for them.",
    "incident_notes": "As tickets are.",
    "box_setups": "Who set a box up is the org's to tell, which has it in its audit log.",
}
