"""The first start: the schema, the operator's admin key, and a first user with a key to try."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Engine, select
from sqlalchemy.exc import DatabaseError

from app.security import keys
from app.security.secrets import Secrets, load_or_create, write_private
from app.services.premises import ADMIN_FILE, claim, open_database, refuse_lost_secrets, unusable
from app.settings import Settings
from models import migrations
from models.base import session, transaction
from models.identity import ApiKey, User

FIRST_USER = "operator@localhost"


@dataclass(frozen=True, slots=True)
class FirstKeys:
    """The keys made just now; empty when they already existed."""

    admin: str = field(default="", repr=False)
    user: str = field(default="", repr=False)


def open_up(settings: Settings) -> FirstKeys:
    """Everything there must be before a worker starts; PremisesError, SecretsError or MigrationError when not."""
    claim(settings.data)
    engine = open_database(settings)
    try:
        refuse_lost_secrets(settings.data, engine)
        return prepare(settings, engine, load_or_create(settings.data))
    except DatabaseError as error:
        raise unusable(engine, error) from None
    finally:
        engine.dispose()


def prepare(settings: Settings, engine: Engine, secrets: Secrets) -> FirstKeys:
    """Bring the schema up to date and make what a fresh server needs; the keys that were made."""
    migrations.upgrade(engine)
    with transaction(engine):
        admin = "" if settings.admin_key or _has_admin() else _admin_key(secrets)
        user = "" if session().scalar(select(User.id).limit(1)) else _first_user(secrets)
    if admin:
        write_private(settings.data / ADMIN_FILE, admin + "\n")
    return FirstKeys(admin, user)


def issue(name: str, role: str, secrets: Secrets, owner: User | None = None) -> tuple[ApiKey, str]:
    """A new key's row, not yet stored, and the key itself, to be shown once."""
    key = keys.mint(role)
    row = ApiKey(name=name, role=role, key_hash=keys.fingerprint(key, secrets.pepper), key_prefix=keys.shown(key))
    if owner is not None:  # None, set, would erase a `user_id` given later
        row.user = owner
    return row, key


def _has_admin() -> bool:
    live = select(ApiKey.id).where(ApiKey.role == "admin", ApiKey.revoked_at.is_(None))
    return session().scalar(live.limit(1)) is not None


def _admin_key(secrets: Secrets) -> str:
    row, key = issue("admin", "admin", secrets)
    session().add(row)
    return key


def _first_user(secrets: Secrets) -> str:
    row, key = issue("default", "user", secrets, User(email=FIRST_USER, name="operator"))
    session().add(row)
    return key
