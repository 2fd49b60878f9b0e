"""The fleet's boxes: their keys and setups, groups, who may use them, what they report, and their nets."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, func, select
from sqlalchemy.orm import Mapped, MappedSQLExpression, column_property, mapped_column, relationship

from models.base import Base, RowId, new_uid, now
from models.identity import User
from models.orgs import Org, Team

PROVISIONING, ONLINE, OFFLINE = "provisioning", "online", "offline"
HMAC, BARE = "hmac-sha256", "sha256"


class Box(Base):
    """A small machine wired to bench instruments.

    `key_hash` is the fingerprint of its API key (`hash_algorithm` tells old rows of bare SHA-256), null before it
    enrolled. The lock is free while `lock_user` is null or `lock_expires_at` is past; a null expiry never comes.
    `lock_beat_at` is when its holder last said so, `lock_ttl_s` how many seconds that is good for.
    """

    __tablename__ = "boxes"
    __table_args__ = (
        Index("uq_boxes_org_name", "org_id", "name", unique=True),
        Index("ix_boxes_status", "status", "last_heartbeat_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    description: Mapped[str | None] = mapped_column(String(2000))
    ip_address: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(12), default=PROVISIONING)
    access_guard: Mapped[bool] = mapped_column(default=False)
    hostname: Mapped[str | None] = mapped_column(String(253))
    hardware: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    capabilities: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    lager_version: Mapped[str | None] = mapped_column(String(64))
    agent_version: Mapped[str | None] = mapped_column(String(64))
    last_heartbeat_at: Mapped[datetime | None]
    # How many nets its last heartbeat told of.
    device_count: Mapped[int] = mapped_column(default=0)
    key_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    hash_algorithm: Mapped[str] = mapped_column(String(12), default=HMAC)
    key_prefix: Mapped[str | None] = mapped_column(String(20))
    key_rotated_at: Mapped[datetime | None]
    lock_user: Mapped[str | None] = mapped_column(String(400))
    lock_holder_type: Mapped[str | None] = mapped_column(String(20))
    lock_reason: Mapped[str | None] = mapped_column(String(200))
    locked_at: Mapped[datetime | None]
    lock_beat_at: Mapped[datetime | None]
    lock_ttl_s: Mapped[int | None]
    lock_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    # When somebody last changed what people set; heartbeats and locks are no such change.
    updated_at: Mapped[datetime] = mapped_column(default=now)

    org: Mapped[Org] = relationship()
    groups: Mapped[list[BoxGroup]] = relationship(secondary="box_group_boxes", order_by="BoxGroup.id", viewonly=True)


class BoxSetup(Base):
    """A token that enrols a box once. Only its fingerprint is kept."""

    __tablename__ = "box_setups"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class BoxGroup(Base):
    """A named group of boxes that access is granted to at once."""

    __tablename__ = "box_groups"
    __table_args__ = (Index("uq_box_groups_org_slug", "org_id", "slug", unique=True),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    slug: Mapped[str] = mapped_column(String(64))
    description: Mapped[str | None] = mapped_column(String(2000))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    # How many boxes are in it; told below, where what is counted is known.
    box_count: ClassVar[MappedSQLExpression[int]]
    org: Mapped[Org] = relationship()


class BoxGroupBox(Base):
    """A box in a group."""

    __tablename__ = "box_group_boxes"

    group_id: Mapped[int] = mapped_column(ForeignKey("box_groups.id", ondelete="CASCADE"), primary_key=True)
    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), primary_key=True, index=True)
    added_at: Mapped[datetime] = mapped_column(default=now)


BoxGroup.box_count = column_property(
    select(func.count(BoxGroupBox.box_id))
    .where(BoxGroupBox.group_id == BoxGroup.id)
    .correlate_except(BoxGroupBox)
    .scalar_subquery()
)


class AccessGrant(Base):
    """Lets a user or a team use a box, or every box of a group: one of each pair is set, and each pair once."""

    __tablename__ = "access_grants"
    __table_args__ = (
        CheckConstraint("(box_id IS NULL) <> (group_id IS NULL)", name="ck_access_grants_target"),
        CheckConstraint("(user_id IS NULL) <> (team_id IS NULL)", name="ck_access_grants_grantee"),
        # Nulls differ from one another, so each of these holds for its own pair alone.
        Index("uq_access_grants_box_user", "box_id", "user_id", unique=True),
        Index("uq_access_grants_box_team", "box_id", "team_id", unique=True),
        Index("uq_access_grants_group_user", "group_id", "user_id", unique=True),
        Index("uq_access_grants_group_team", "group_id", "team_id", unique=True),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"), index=True)
    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"))
    group_id: Mapped[int | None] = mapped_column(ForeignKey("box_groups.id", ondelete="CASCADE"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    team_id: Mapped[int | None] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), index=True)
    granted_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=now)

    box: Mapped[Box | None] = relationship()
    group: Mapped[BoxGroup | None] = relationship()
    user: Mapped[User | None] = relationship(foreign_keys=[user_id])
    team: Mapped[Team | None] = relationship()
    granted_by: Mapped[User | None] = relationship(foreign_keys=[granted_by_id])


class Heartbeat(Base):
    """What a box said of itself at a moment."""

    __tablename__ = "heartbeats"
    __table_args__ = (Index("ix_heartbeats_box", "box_id", "received_at"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"))
    received_at: Mapped[datetime] = mapped_column(default=now, index=True)
    status: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    agent_version: Mapped[str | None] = mapped_column(String(64))
    metrics: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    device_count: Mapped[int] = mapped_column(default=0)


class Device(Base):
    """A net of a box, as its last heartbeat told it; `present` is false once a heartbeat left it out."""

    __tablename__ = "devices"
    __table_args__ = (Index("uq_devices_box_net", "box_id", "net_name", unique=True),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"))
    net_name: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(100))
    type: Mapped[str] = mapped_column(String(64))
    capabilities: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    present: Mapped[bool] = mapped_column(default=True)
    last_seen_at: Mapped[datetime] = mapped_column(default=now)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)

    box: Mapped[Box] = relationship()
