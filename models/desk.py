"""The service desk of a tenant: keys, groups, numbers, incidents with their notes, and bulk jobs."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from secrets import token_hex

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, RowId, now
from models.identity import User


def opaque(prefix: str) -> str:
    """A random identifier such as `grp_1f0c…`."""
    return f"{prefix}_{token_hex(12)}"


def user_id(uid: str) -> str:
    """A user's UUID as the desk writes it: `usr_` and 32 digits."""
    return "usr_" + uid.replace("-", "")


class DeskKey(Base):
    """A key that is exchanged for tokens, and with its id a client of the token endpoint. Only its HMAC is kept."""

    __tablename__ = "desk_keys"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(40), unique=True, default=partial(opaque, "key"))
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    prefix: Mapped[str] = mapped_column(String(8))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class DeskGroup(Base):
    """People who share work. `kind` is what the group is for: support, or CAB."""

    __tablename__ = "desk_groups"
    __table_args__ = (Index("uq_desk_groups_org_name", "org_id", "name", unique=True),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(40), unique=True, default=partial(opaque, "grp"))
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    code: Mapped[str | None] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(20), default="support")
    skills: Mapped[list[str]] = mapped_column(JSON, default=list)
    manager_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=now)

    manager: Mapped[User | None] = relationship()
    members: Mapped[list[User]] = relationship(
        secondary="desk_group_members", order_by=User.id, viewonly=True, lazy="selectin"
    )


class DeskGroupMember(Base):
    """A user in a group."""

    __tablename__ = "desk_group_members"

    group_id: Mapped[int] = mapped_column(ForeignKey("desk_groups.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)


class DeskCounter(Base):
    """The last number given to a kind of record in a tenant; its row lock makes numbers gapless."""

    __tablename__ = "desk_counters"

    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"), primary_key=True)
    prefix: Mapped[str] = mapped_column(String(4), primary_key=True)
    last: Mapped[int]


class Incident(Base):
    """An unplanned interruption. People are kept by the address, groups by the name they had: records outlive both."""

    __tablename__ = "incidents"
    __table_args__ = (
        Index("uq_incidents_org_number", "org_id", "number", unique=True),
        Index("ix_incidents_created", "org_id", "created_at", "id"),
        Index("ix_incidents_updated", "org_id", "updated_at", "id"),
        Index("ix_incidents_priority", "org_id", "priority", "id"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"))
    number: Mapped[str] = mapped_column(String(20))
    short_description: Mapped[str] = mapped_column(String(160))
    description: Mapped[str] = mapped_column(Text, default="")
    priority: Mapped[str] = mapped_column(String(2))
    impact: Mapped[str] = mapped_column(String(6))
    urgency: Mapped[str] = mapped_column(String(6))
    state: Mapped[str] = mapped_column(String(20))
    category: Mapped[str | None] = mapped_column(String(40))
    subcategory: Mapped[str | None] = mapped_column(String(40))
    assignment_group: Mapped[str] = mapped_column(String(100))
    assigned_to: Mapped[str | None] = mapped_column(String(320))
    opened_by: Mapped[str] = mapped_column(String(320))
    ci_id: Mapped[str | None] = mapped_column(String(20))
    parent_problem_id: Mapped[str | None] = mapped_column(String(20))
    change_id: Mapped[str | None] = mapped_column(String(20))
    resolution_code: Mapped[str | None] = mapped_column(String(20))
    resolution_notes: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(JSON, default=list)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]


class IncidentNote(Base):
    """A remark on an incident, for the desk alone (`internal`) or for everybody (`public`); never changed."""

    __tablename__ = "incident_notes"
    __table_args__ = (Index("ix_incident_notes_incident", "incident_id", "id"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(40), unique=True, default=partial(opaque, "note"))
    incident_id: Mapped[int] = mapped_column(ForeignKey("incidents.id", ondelete="CASCADE"))
    note: Mapped[str] = mapped_column(Text)
    visibility: Mapped[str] = mapped_column(String(8))
    author: Mapped[str] = mapped_column(String(320))
    created_at: Mapped[datetime] = mapped_column(default=now)


class BulkJob(Base):
    """Accepted records, carried out by the engine's task of its `uid`."""

    __tablename__ = "bulk_jobs"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(40), unique=True, default=partial(opaque, "job"))
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    email: Mapped[str] = mapped_column(String(320))
    kind: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(24), default="queued")
    total: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None] = mapped_column(index=True)

    records: Mapped[list[BulkRecord]] = relationship(order_by="BulkRecord.position", lazy="raise")


class BulkRecord(Base):
    """One record of a bulk job, as JSON text. `status` is null until the transaction that carries it out."""

    __tablename__ = "bulk_records"

    job_id: Mapped[int] = mapped_column(ForeignKey("bulk_jobs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    payload: Mapped[str] = mapped_column(Text)
    status: Mapped[str | None] = mapped_column(String(8))
    record_id: Mapped[str | None] = mapped_column(String(20))
    error: Mapped[str | None] = mapped_column(Text)
