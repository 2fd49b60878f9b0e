"""The secrets in modules' settings when the sealing key changes: found by their schemas, and sealed anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import select

from app.gateway.modules.catalogue import CATALOGUE
from app.security.sealing import VERSION, UnsealError, seal, unseal
from app.security.secrets import Secrets
from app.services.module_settings import with_secrets
from models.base import session
from models.gateway import ModuleState, Revision

RESEALED: Final = "resealed"
FAILED: Final = "failed"


def outdated(secrets: Secrets) -> int:
    """How many are sealed under another key than the current one."""
    found: Counter[str] = Counter()

    def look(text: str) -> str:
        found[""] += not _current(text, secrets)
        return text

    for state in _states():
        with_secrets(CATALOGUE[state.name].config_schema, state.config, look)
    return found[""]


def renew(secrets: Secrets) -> Counter[str]:
    """Seal them under the current key, in a transaction that lets nobody else change settings; what became of them."""
    session().execute(select(Revision.number).with_for_update()).one()
    counted: Counter[str] = Counter()
    for state in _states():
        renewed = _renewing(f"module:{state.name}", secrets, counted)
        state.config = with_secrets(CATALOGUE[state.name].config_schema, state.config, renewed)
    return counted


def _states() -> Iterator[ModuleState]:
    return (state for state in session().scalars(select(ModuleState)).all() if state.name in CATALOGUE)


def _renewing(owner: str, secrets: Secrets, counted: Counter[str]) -> Callable[[str], str]:
    def renewed(text: str) -> str:
        if _current(text, secrets):
            return text
        try:
            fresh = seal(unseal(text, owner, secrets), owner, secrets)
        except UnsealError:
            counted[FAILED] += 1
            return text
        counted[RESEALED] += 1
        return fresh

    return renewed


def _current(text: str, secrets: Secrets) -> bool:
    return text.startswith(f"{VERSION}.{secrets.current}.")
