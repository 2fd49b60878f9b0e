"""Seals stored secrets anew under the current key, in small batches that no request has to wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, func, select, update
from sqlalchemy.orm import InstrumentedAttribute

from app.security.sealing import VERSION, UnsealError, seal, unseal
from app.security.secrets import Secrets
from app.services import mfa, provider_keys
from models.base import session, transaction
from models.identity import ProviderKey, User

BATCH = 100
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column of sealed texts, and what binds each to its row."""

    model: type[Any]
    column: InstrumentedAttribute[Any]
    owner: Callable[[Any], str]

    def outdated(self, secrets: Secrets) -> ColumnElement[bool]:
        """What is sealed under another key than the current one."""
        return self.column.is_not(None) & self.column.not_like(f"{VERSION}.{secrets.current}.%")


# Every column that holds sealed texts belongs here.
SEALED = (
    Sealed(ProviderKey, ProviderKey.sealed_key, lambda row: provider_keys.owner_of(row.user_id, row.provider)),
    Sealed(User, User.mfa_secret, lambda row: mfa.owner_of(row.id)),
)


@dataclass(slots=True)
class Outcome:
    """How many texts were sealed anew, and how many could not be opened and stay as they are."""

    resealed: int = 0
    failed: int = 0


def reseal(engine: Engine, secrets: Secrets, tell: Tell) -> Outcome:
    """Go through every sealed column; `tell(done, total)` after each batch. Safe to repeat, and to break off."""
    outcome = Outcome()
    with transaction(engine, write=False):
        total = sum(_count(kind, secrets) for kind in SEALED)
    for kind in SEALED:
        last: int | None = 0
        while last is not None:
            with transaction(engine):
                last = _batch(kind, last, secrets, outcome)
            tell(outcome.resealed + outcome.failed, total)
    return outcome


def _count(kind: Sealed, secrets: Secrets) -> int:
    return session().scalar(select(func.count()).select_from(kind.model).where(kind.outdated(secrets))) or 0


def _batch(kind: Sealed, after: int, secrets: Secrets, outcome: Outcome) -> int | None:
    """Seal the next rows; the last one's id, or None at the end."""
    due = select(kind.model).where(kind.model.id > after, kind.outdated(secrets))
    rows = session().scalars(due.order_by(kind.model.id).limit(BATCH)).all()
    for row in rows:
        try:
            _renew(kind, row, secrets)
            outcome.resealed += 1
        except UnsealError:
            outcome.failed += 1
    return rows[-1].id if len(rows) == BATCH else None


def _renew(kind: Sealed, row: Any, secrets: Secrets) -> None:
    """Replace the text unless somebody stored another one meanwhile."""
    old, owner = getattr(row, kind.column.key), kind.owner(row)
    same = update(kind.model).where(kind.model.id == row.id, kind.column == old)
    session().execute(same.values({kind.column.key: seal(unseal(old, owner, secrets), owner, secrets)}))
