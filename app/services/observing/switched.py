"""Which observers are switched on, read from the database: the process that stores calls holds no configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.gateway.modules.catalogue import complete_config
from models.gateway import ModuleState

Settings = Mapping[str, Any]
CANARY: Final = "canarydeploy"
OBSERVERS: Final = (
    "streamsnap",
    "llmtap",
    "alertpulse",
    "driftwatch",
    "feedbackloop",
    "compliancelog",
    "anomalyradar",
    "costmap",
)
# Those that act on what is stored, or beside it, and do not look at each call as it is stored.
BESIDE: Final = (
    "retentionwipe",
    "webhookforge",
    "finetunetrack",
    "promptrank",
    "trainexport",
    "cohorttrack",
    "cronllm",
    "webhookrelay",
)


def switched(session: Session) -> dict[str, Settings]:
    """The complete settings of those that are on, by name."""
    names = (*OBSERVERS, CANARY)
    wanted = select(ModuleState.name, ModuleState.config).where(ModuleState.enabled, ModuleState.name.in_(names))
    return {name: complete_config(name, config) for name, config in session.execute(wanted)}


def enabled(session: Session, name: str) -> Settings | None:
    """The complete settings of a module that is on; None while it is off."""
    wanted = select(ModuleState.config).where(ModuleState.name == name, ModuleState.enabled)
    config = session.scalar(wanted)
    return None if config is None else complete_config(name, config)


def settings_of(session: Session, name: str) -> Settings:
    """A module's settings, on or off."""
    return complete_config(name, session.scalar(select(ModuleState.config).where(ModuleState.name == name)) or {})
