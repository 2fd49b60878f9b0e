"""Users, their API keys and the provider keys they bring: their own under `/me`, anybody's for operators."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.http import Answer, caller, created, page
from app.problems import Problem, forbidden
from app.runtime import runtime
from app.services import accounts, provider_keys, user_usage
from app.services.accounts import Issued, Terms
from app.services.provider_keys import Brought
from app.wire.moments import moment
from app.wire.pages import Listing
from models.base import now
from models.identity import ApiKey, ProviderKey, User
from models.views.auth import ApiKeyView, ProviderKeyView, UserView

Json = dict[str, Any]

show_user = UserView().dump
show_key = ApiKeyView().dump
show_provider = ProviderKeyView().dump


def list_my_keys(**window: Any) -> Json:
    """The caller's keys."""
    return page(_keys(_me()), **window)


def create_my_key(body: Json | None) -> Answer:
    """A further key of the caller."""
    issued = accounts.add_key(_me(), _terms(body or {}), runtime().secrets)
    return created(_told(issued), f"/api/auth/me/keys/{issued.row.id}")


def revoke_my_key(key_id: int) -> Json:
    """End a key of the caller."""
    accounts.revoke_key(_me(), key_id)
    return {"status": "revoked"}


def rotate_my_key(key_id: int, body: Json | None) -> Json:
    """Replace a key of the caller."""
    return _rotate(_me(), key_id, body or {})


def list_my_providers(**window: Any) -> Json:
    """The provider keys of the caller."""
    return page(_providers(_me()), **window)


def replace_my_provider(provider: str, body: Json) -> Json:
    """Store the caller's key for a provider."""
    return _save_provider(_me(), provider, body)


def delete_my_provider(provider: str) -> Json:
    """Forget the caller's key for a provider."""
    provider_keys.remove(_me(), provider)
    return {"status": "deleted"}


def get_my_usage() -> Json:
    """What the caller's calls came to."""
    return user_usage.usage_of(_me())


def list_users(email: str | None = None, q: str | None = None, tier: str | None = None, **window: Any) -> Json:
    """Users, newest first."""
    return page(Listing(accounts.find_users(email, q, tier), "users", show_user, (User.id,)), **window)


def create_user(body: Json) -> Answer:
    """Make an account with a first key."""
    tier = body.get("tier", "free")
    user, issued = accounts.add_user(body["email"], runtime().secrets, name=body.get("name"), tier=tier)
    return created({"user": show_user(user), "api_key": _told(issued)}, f"/api/auth/users/{user.id}")


def get_user(id_: int) -> Json:
    """One user."""
    shown: Json = show_user(accounts.get_user(id_))
    return shown


def list_user_keys(id_: int, **window: Any) -> Json:
    """A user's keys."""
    return page(_keys(accounts.get_user(id_).id), **window)


def create_user_key(id_: int, body: Json | None) -> Answer:
    """A further key of a user."""
    issued = accounts.add_key(id_, _terms(body or {}), runtime().secrets)
    return created(_told(issued), f"/api/auth/users/{id_}/keys/{issued.row.id}")


def revoke_user_key(id_: int, key_id: int) -> Json:
    """End a user's key."""
    accounts.revoke_key(id_, key_id)
    return {"status": "revoked"}


def rotate_user_key(id_: int, key_id: int, body: Json | None) -> Json:
    """Replace a user's key."""
    return _rotate(id_, key_id, body or {})


def list_user_providers(id_: int, **window: Any) -> Json:
    """A user's provider keys."""
    return page(_providers(accounts.get_user(id_).id), **window)


def replace_user_provider(id_: int, provider: str, body: Json) -> Json:
    """Store a user's key for a provider."""
    return _save_provider(id_, provider, body)


def delete_user_provider(id_: int, provider: str) -> Json:
    """Forget a user's key for a provider."""
    accounts.get_user(id_)
    provider_keys.remove(id_, provider)
    return {"status": "deleted"}


def _me() -> int:
    """The calling user; the document admits no key here that belongs to nobody."""
    user_id = caller().user_id
    if user_id is None:
        raise forbidden("This key belongs to no user")
    return user_id


def _keys(user_id: int) -> Listing:
    return Listing(ApiKey.live_of(user_id).order_by(None), "keys", show_key, (ApiKey.id,), descending=False)


def _providers(user_id: int) -> Listing:
    by_name = (ProviderKey.provider,)
    return Listing(provider_keys.of_user(user_id), "providers", show_provider, by_name, descending=False)


def _terms(body: Json) -> Terms:
    """What the body asks of a key, within what the calling key may do."""
    name = body.get("name", accounts.FIRST_KEY)
    return Terms(name, body.get("scopes"), _future(body.get("expires_at")), caller().scopes)


def _rotate(user_id: int, key_id: int, body: Json) -> Json:
    overlap_s = body.get("overlap_seconds", 0)
    issued = accounts.rotate_key(user_id, key_id, runtime().secrets, _terms(body), overlap_s)
    return {"status": "rotated", "old_key": key_id, "new_key": _told(issued)}


def _save_provider(user_id: int, provider: str, body: Json) -> Json:
    base_url = body.get("base_url")
    provider_keys.check_host(provider, base_url, runtime().settings)  # before the transaction locks anything
    saved = provider_keys.save(user_id, provider, Brought(body["api_key"], base_url), runtime().secrets)
    return {"status": "saved", "provider": saved.provider}


def _told(issued: Issued) -> Json:
    """A key as shown once, with its plaintext."""
    shown: Json = show_key(issued.row)
    return shown | {"key": issued.key}


def _future(text: str | None) -> datetime | None:
    """A moment that is still to come."""
    if text is None:
        return None
    when = moment(text)
    if when <= now():
        raise Problem(422, "expires_at must be to come", details={"field": "expires_at"})
    return when
