"""The audit log: who did what to what. Rows are only ever added, and outlive what they tell of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, RowId, new_uid, now
from models.identity import User


class AuditEntry(Base):
    """One act. `org_id` is null for what concerns no org, such as a login, and once the org is deleted."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_org", "org_id", "id"),
        Index("ix_audit_entries_org_actor", "org_id", "actor_id", "id"),
        Index("ix_audit_entries_org_action", "org_id", "action", "id"),
        Index("ix_audit_entries_org_resource", "org_id", "resource_type", "id"),
        Index("ix_audit_entries_org_created", "org_id", "created_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    org_id: Mapped[int | None] = mapped_column(ForeignKey("orgs.id", ondelete="SET NULL"))
    actor_type: Mapped[str] = mapped_column(String(10), default="user")
    actor_id: Mapped[int | None] = mapped_column()
    actor_email: Mapped[str | None] = mapped_column(String(320))
    action: Mapped[str] = mapped_column(String(60))
    resource_type: Mapped[str] = mapped_column(String(40))
    resource_id: Mapped[str | None] = mapped_column(String(64))
    # `metadata` is SQLAlchemy's own word.
    details: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    request_id: Mapped[str] = mapped_column(String(128), default="")
    ip_address: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)

    # No key of the database: an entry stays when its actor goes.
    actor: Mapped[User | None] = relationship(
        primaryjoin="foreign(AuditEntry.actor_id) == User.id", viewonly=True, lazy="raise"
    )
