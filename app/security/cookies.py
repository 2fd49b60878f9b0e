"""The cookies this server sets: how they are written, and for how long browsers keep them."""

from __future__ import annotations

from app.security.credentials import REFRESH_COOKIE, SESSION_COOKIE

LIFETIME_S = 7 * 24 * 60 * 60
# The refresh token only travels to where it is exchanged.
PATHS = {SESSION_COOKIE: "/", REFRESH_COOKIE: "/api/auth"}


def kept(name: str, value: str, *, secure: bool) -> str:
    """A `Set-Cookie` value no script can read and no other site's form can send (RFC 6265 §4.1)."""
    return _written(name, value, LIFETIME_S, secure=secure)


def cleared(*, secure: bool) -> tuple[str, ...]:
    """`Set-Cookie` values that make a browser forget every cookie of this server."""
    return tuple(_written(name, "", 0, secure=secure) for name in PATHS)


def _written(name: str, value: str, max_age: int, *, secure: bool) -> str:
    flags = "; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
    return f"{name}={value}; Path={PATHS[name]}; Max-Age={max_age}{flags}"
