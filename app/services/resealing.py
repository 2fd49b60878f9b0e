"""Seals stored secrets anew under the current key, in small batches that no request has to wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, func, select, update
from sqlalchemy.orm import InstrumentedAttribute

from app.gateway.cache import packing
from app.gateway.personal import owner
from app.security.sealing import VERSION, UnsealError, seal, unseal
from app.security.secrets import Secrets
from app.services import mfa, module_secrets
from app.services.box_jobs import submit
from app.services.relays import intake
from app.services.vault.keys import PREFIX
from app.services.webhooks import sending
from models.answers import CachedAnswer
from models.base import session, transaction
from models.box_jobs import BoxJob
from models.identity import ProviderKey, User
from models.relays import RelayDelivery
from models.webhooks import Webhook

BATCH = 100
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column of sealed texts, and what binds each to its row."""

    model: type[Any]
    column: InstrumentedAttribute[Any]
    owner: Callable[[Any], str]

    def outdated(self, secrets: Secrets) -> ColumnElement[bool]:
        """What is sealed under another of the server's keys than the current one; an operator's own key is none."""
        old = self.column.not_like(f"{VERSION}.{secrets.current}.%") & self.column.not_like(f"{VERSION}.{PREFIX}%")
        return self.column.is_not(None) & old


# Every column that holds sealed texts belongs here.
SEALED = (
    Sealed(ProviderKey, ProviderKey.sealed_key, lambda row: owner(row.user_id, row.provider)),
    Sealed(BoxJob, BoxJob.sealed_env, lambda row: submit.owner_of(row.uid)),
    Sealed(User, User.mfa_secret, lambda row: mfa.owner_of(row.id)),
    Sealed(CachedAnswer, CachedAnswer.sealed, lambda row: packing.owner_of(row.key)),
    Sealed(RelayDelivery, RelayDelivery.sealed_prompt, lambda row: intake.owner_of(row.uid)),
    Sealed(Webhook, Webhook.sealed_secret, lambda row: sending.owner_of(row.id)),
)


@dataclass(slots=True)
class Outcome:
    """How many texts were sealed anew, and how many could not be opened and stay as they are."""

    resealed: int = 0
    failed: int = 0


def reseal(engine: Engine, secrets: Secrets, tell: Tell) -> Outcome:
    """Go through every sealed column, then modules' settings; `tell(done, total)` after each batch.

    Safe to repeat, and to break off.
    """
    outcome = Outcome()
    with transaction(engine, write=False):
        total = sum(_count(kind, secrets) for kind in SEALED) + module_secrets.outdated(secrets)
    for kind in SEALED:
        last: int | None = 0
        while last is not None:
            with transaction(engine):
                last = _batch(kind, last, secrets, outcome)
            tell(outcome.resealed + outcome.failed, total)
    with transaction(engine):
        counted = module_secrets.renew(secrets)
    outcome.resealed += counted[module_secrets.RESEALED]
    outcome.failed += counted[module_secrets.FAILED]
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
