"""Provider keys that users bring: sealed for their owner, and only ever sent to a host that was looked at."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Select, delete, func, select

from app.gateway.personal import owner
from app.gateway.providers import provider_named
from app.outbound.addresses import RefusedAddressError, refuse_private
from app.problems import Problem, conflict, not_found
from app.security.sealing import seal
from app.security.secrets import Secrets
from app.services import answer_cache
from app.services.revisions import bump
from app.settings import Settings
from models.base import session
from models.identity import ProviderKey, User

MAX_PROVIDERS = 100


@dataclass(frozen=True, slots=True)
class Brought:
    """A user's key for a provider. `base_url` None means the provider's own."""

    key: str = field(repr=False)
    base_url: str | None = None


def check_host(provider: str, base_url: str | None, settings: Settings) -> None:
    """A 422 Problem when the URL is not for us to call, or is missing where only it says where the provider is.

    Resolves names, which may take seconds: call it before the transaction's first statement.
    """
    if base_url is None:
        if provider_named(provider) is None:
            raise Problem(422, f"base_url is required: no provider is called {provider}", details={"field": "base_url"})
        return
    try:
        refuse_private(base_url, settings.outbound_allowed)
    except RefusedAddressError as error:
        raise Problem(422, f"base_url cannot be used: {error}", details={"field": "base_url"}) from None


def of_user(user_id: int) -> Select[ProviderKey]:
    """A user's provider keys."""
    return select(ProviderKey).where(ProviderKey.user_id == user_id)


def save(user_id: int, provider: str, brought: Brought, secrets: Secrets) -> ProviderKey:
    """Store the key, or put it in the place of the one before; Problem 404 without such a user, 409 over the most."""
    name = provider.lower()
    if session().get(User, user_id, with_for_update=True) is None:
        raise not_found("User")
    row = session().scalar(_one(user_id, name)) or _new(user_id, name)
    row.sealed_key = seal(brought.key, owner(user_id, name), secrets)
    row.base_url = brought.base_url
    session().add(row)
    session().flush()
    answer_cache.outdate()
    bump()
    return row


def remove(user_id: int, provider: str) -> None:
    """Forget the key; a 404 Problem when there is none."""
    gone = delete(ProviderKey).where(ProviderKey.user_id == user_id, ProviderKey.provider == provider.lower())
    if not session().execute(gone.returning(ProviderKey.id)).first():
        raise not_found("Provider key")
    answer_cache.outdate()
    bump()


def _new(user_id: int, name: str) -> ProviderKey:
    held = select(func.count()).select_from(ProviderKey).where(ProviderKey.user_id == user_id)
    if (session().scalar(held) or 0) >= MAX_PROVIDERS:
        raise conflict(f"This user has keys of {MAX_PROVIDERS} providers, the most there may be; delete one first")
    return ProviderKey(user_id=user_id, provider=name)


def _one(user_id: int, name: str) -> Select[ProviderKey]:
    return of_user(user_id).where(ProviderKey.provider == name)
