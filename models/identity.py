"""People and their credentials: users, the keys we issue, and the provider keys they bring."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Select, String, select, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, RowId, new_uid, now


class User(Base):
    """Somebody who may call. `email` is stored trimmed and in lower case.

    `id` is the number some dialects show, `uid` the UUID others do. `password_hash` is Argon2id, null for who never set
    one; `mfa_secret` is sealed for the user and `mfa_counter` the time step (RFC 6238) of the last code that worked.
    `is_admin` operates the whole server.
    """

    __tablename__ = "users"
    # A number is never given twice: what is counted under one must not become somebody else's.
    __table_args__ = (Index("ix_users_last_login_at", "last_login_at", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    tier: Mapped[str] = mapped_column(String(20), default="free")
    password_hash: Mapped[str | None] = mapped_column(String(200))
    email_verified: Mapped[bool] = mapped_column(default=False)
    is_active: Mapped[bool] = mapped_column(default=True)
    is_admin: Mapped[bool] = mapped_column(default=False)
    locale: Mapped[str] = mapped_column(String(5), default="en")
    mfa_enabled: Mapped[bool] = mapped_column(default=False)
    mfa_secret: Mapped[str | None] = mapped_column(String(500))
    mfa_counter: Mapped[int | None]
    last_login_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    keys: Mapped[list[ApiKey]] = relationship(back_populates="user", cascade="all, delete-orphan")


class ApiKey(Base):
    """A key we issued. Only its HMAC is kept; `user_id` is null for the operator's admin key."""

    __tablename__ = "api_keys"
    __table_args__ = (
        Index(
            "uq_api_keys_live_name",
            "user_id",
            "name",
            unique=True,
            sqlite_where=text("revoked_at IS NULL"),
            postgresql_where=text("revoked_at IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(String(10), default="user")
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    hash_algorithm: Mapped[str] = mapped_column(String(20), default="hmac-sha256")
    key_prefix: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(100))
    scopes: Mapped[str] = mapped_column(String(200), default="*")
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    last_used: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    user: Mapped[User | None] = relationship(back_populates="keys")

    @classmethod
    def live_of(cls, user_id: int) -> Select[ApiKey]:
        """A user's keys that are not revoked, oldest first."""
        return select(cls).where(cls.user_id == user_id, cls.revoked_at.is_(None)).order_by(cls.id)


class ProviderKey(Base):
    """A provider key a user brought, sealed; the row's owner is bound into the seal."""

    __tablename__ = "provider_keys"
    __table_args__ = (Index("uq_provider_keys_owner", "user_id", "provider", unique=True),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    provider: Mapped[str] = mapped_column(String(64))
    sealed_key: Mapped[str] = mapped_column(String(4096))
    base_url: Mapped[str | None] = mapped_column(String(2048))
    created_at: Mapped[datetime] = mapped_column(default=now)
