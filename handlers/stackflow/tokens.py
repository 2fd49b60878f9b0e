"""Tokens of the service desk, and the keys they are traded for."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any
from urllib.parse import unquote_plus

from app.http import Answer, caller, created, page, transact
from app.problems import Problem, unauthorized
from app.runtime import runtime
from app.security.lookups import Store
from app.security.tokens import DESK, LIFETIME_S
from app.services import desk_keys
from app.services.desk import acting
from app.wire.call import current
from app.wire.moments import moment
from app.wire.pages import Listing
from models.desk import DeskKey
from models.views.desk import DeskKeyView

Json = dict[str, Any]
# RFC 6749 §5.1: nobody on the way may keep a token.
UNKEPT = {"cache-control": "no-store", "pragma": "no-cache"}
CHALLENGE = 'Basic realm="oauth2"'

show_key = DeskKeyView().dump


def issue_token(body: Json) -> Answer:
    """Trade a client's id and secret for a token."""
    held = runtime()
    client_id, secret = _client(body)
    try:
        principal = desk_keys.holder(client_id, secret, Store(held.engine, held.secrets))
        with transact():
            token = desk_keys.token_by_key(principal, secret, held.settings.base_url, held.secrets)
    except Problem as problem:
        raise _refused() if problem.status == 401 else problem from None  # noqa: PLR2004
    return _told(token)


def exchange_credential(tenant_id: str | None) -> Answer:
    """Trade a key, or a session in the fleet, for a token."""
    held, who = runtime(), caller()
    issuer = held.settings.base_url
    with transact():
        if who.kind == "stout":
            token = desk_keys.token_by_session(who, tenant_id and tenant_id.lower(), issuer, held.secrets)
        else:
            token = desk_keys.token_by_key(who, current().headers["x-api-key"], issuer, held.secrets)
    return _told(token)


def list_desk_keys(**window: Any) -> Json:
    """The caller's keys, newest first."""
    return page(Listing(desk_keys.keys(acting()), "data", show_key, (DeskKey.id,)), **window)


def create_desk_key(body: Json) -> Answer:
    """Make a key, shown this once."""
    fields = body | ({"expires_at": moment(body["expires_at"])} if "expires_at" in body else {})
    issued = desk_keys.make(acting(), next(iter(caller().roles)), fields, runtime().secrets)
    return created(show_key(issued.row) | {"key": issued.key}, f"/prod/api/v1/api-keys/{issued.row.uid}")


def delete_desk_key(id_: str) -> None:
    """End a key."""
    desk_keys.revoke(acting(), id_)


def _client(body: Json) -> tuple[str, str]:
    """The client's id and secret: from the form, or by HTTP Basic, each part form-encoded (RFC 6749 §2.3.1)."""
    kind, _, sent = current().headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return body.get("client_id", ""), body.get("client_secret", "")
    if "client_secret" in body:
        raise Problem(400, "The client proves itself twice: in the form and by HTTP Basic")
    try:
        client_id, _, secret = b64decode(sent, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _refused() from None
    return unquote_plus(client_id), unquote_plus(secret)


def _refused() -> Problem:
    return unauthorized("Unknown client, or a wrong secret", challenge=CHALLENGE)


def _told(token: str) -> Answer:
    body = {"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME_S[DESK]}
    return Answer(body, 200, UNKEPT)
