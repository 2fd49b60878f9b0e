"""Organizations: their members, invitations and teams. An organization is Stout's org and StackFlow's tenant."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column, query_expression, relationship

from models.base import Base, RowId, new_uid, now
from models.identity import User

OWNER, ADMIN, MEMBER = "owner", "admin", "member"
# The service-desk role a membership starts with.
DESK_ROLES = {OWNER: "super_admin", ADMIN: "itsm_manager", MEMBER: "viewer"}


class Org(Base):
    """A tenant. The counts, and `role`, the asking member's, are read where a query fills them in."""

    __tablename__ = "orgs"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    name: Mapped[str] = mapped_column(String(100))
    slug: Mapped[str] = mapped_column(String(64), unique=True)
    is_personal: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    member_count: Mapped[int | None] = query_expression()
    box_count: Mapped[int | None] = query_expression()
    role: Mapped[str | None] = query_expression()


class Membership(Base):
    """A user in an org: `role` in the fleet (owner, admin, member), `desk_role` at the service desk."""

    __tablename__ = "memberships"
    __table_args__ = (Index("uq_memberships_org_user", "org_id", "user_id", unique=True),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(String(10))
    desk_role: Mapped[str] = mapped_column(String(20))
    joined_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    org: Mapped[Org] = relationship()
    user: Mapped[User] = relationship()


class Invitation(Base):
    """An invitation into an org by mail. Only the token's fingerprint is kept; an address has at most one pending.

    `status` is pending, accepted, revoked or expired; a pending one is over at `expires_at` whether or not that was
    written down yet.
    """

    __tablename__ = "invitations"
    __table_args__ = (
        Index(
            "uq_invitations_pending",
            "org_id",
            "email",
            unique=True,
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
        Index("ix_invitations_org", "org_id", "id"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"))
    email: Mapped[str] = mapped_column(String(320))
    role: Mapped[str] = mapped_column(String(10))
    status: Mapped[str] = mapped_column(String(10), default="pending")
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    invited_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    org: Mapped[Org] = relationship()
    invited_by: Mapped[User | None] = relationship()


class Team(Base):
    """A named group of members that access is granted to. `member_count` is read where a query fills it in."""

    __tablename__ = "teams"
    __table_args__ = (Index("uq_teams_org_slug", "org_id", "slug", unique=True),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    slug: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    member_count: Mapped[int | None] = query_expression()
    org: Mapped[Org] = relationship()


class TeamMember(Base):
    """A member in a team."""

    __tablename__ = "team_members"

    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    joined_at: Mapped[datetime] = mapped_column(default=now)

    user: Mapped[User] = relationship()
