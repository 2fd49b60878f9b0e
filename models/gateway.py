"""What an operator sets on the gateway: module states, routes, and what was seen of each provider."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, RowId, now


class ModuleState(Base):
    """A module's toggle and settings where they differ from the catalogue's defaults."""

    __tablename__ = "module_states"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    enabled: Mapped[bool]
    priority: Mapped[int]
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    version: Mapped[int] = mapped_column(default=0)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class Route(Base):
    """A rule that sends model names matching a glob to a provider, lowest priority number first."""

    __tablename__ = "routes"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    path: Mapped[str] = mapped_column(String(256), unique=True)
    method: Mapped[str] = mapped_column(String(10), default="POST")
    provider: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(256), default="")
    priority: Mapped[int] = mapped_column(default=100)
    enabled: Mapped[bool] = mapped_column(default=True)


class ProviderHealth(Base):
    """The last health check of a provider."""

    __tablename__ = "provider_health"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    status: Mapped[str] = mapped_column(String(20))
    latency_ms: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(String(500))
    checked_at: Mapped[datetime] = mapped_column(default=now)


class Revision(Base):
    """One row, raised by every change other workers must notice."""

    __tablename__ = "revisions"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(default=0)
