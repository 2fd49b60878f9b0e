"""Signed tokens (JWT, RFC 7519): access to the fleet and the service desk, short-lived, with the signing key's id."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import jwt

from app.security.secrets import Secrets

ALGORITHM = "HS256"
ACCESS, DESK = "access", "desk"
LIFETIME_S: Mapping[str, int] = {ACCESS: 15 * 60, DESK: 60 * 60}
LEEWAY_S = 5


class TokenError(Exception):
    """The token is not one of ours, or no longer valid; `expired` tells which."""

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


def sign(kind: str, claims: Mapping[str, Any], secrets: Secrets) -> str:
    """A token of this kind (its `typ` claim), valid from now for the kind's lifetime."""
    issued = int(time.time())
    held = {**claims, "typ": kind, "iat": issued, "exp": issued + LIFETIME_S[kind]}
    return jwt.encode(held, secrets.signing[secrets.signer], ALGORITHM, headers={"kid": secrets.signer})


def kind_of(token: str) -> str:
    """What kind a token says it is, before its signature is looked at; empty for what is no JWT."""
    try:
        return str(jwt.decode(token, options={"verify_signature": False}).get("typ", ""))
    except jwt.InvalidTokenError:
        return ""


def verify(kind: str, token: str, secrets: Secrets) -> Mapping[str, Any]:
    """The claims of a token of this kind; TokenError otherwise."""
    try:
        key = secrets.signing[str(jwt.get_unverified_header(token).get("kid"))]
        claims: dict[str, Any] = jwt.decode(
            token, key, [ALGORITHM], leeway=LEEWAY_S, options={"require": ["exp", "iat", "sub", "typ"]}
        )
    except jwt.ExpiredSignatureError:
        raise TokenError("the token has expired", expired=True) from None
    except (jwt.InvalidTokenError, KeyError):
        raise TokenError("the token is not valid") from None
    if claims["typ"] != kind:
        raise TokenError("the token is of another kind")
    return claims
