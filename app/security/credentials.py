"""What a request presents: the credential of each security scheme, read from headers and cookies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from app.problems import forbidden, unauthorized
from app.security.tokens import ACCESS, DESK, kind_of
from app.spec.operations import Operation

Reader = Callable[[Mapping[str, str]], str | None]
SESSION_COOKIE = "outsend_session"
REFRESH_COOKIE = "refresh_token"


@dataclass(slots=True)
class Presented:
    """One credential as sent, and the scheme it is of."""

    scheme: str
    secret: str = field(repr=False)


def presented(operation: Operation, headers: Mapping[str, str]) -> Presented | None:
    """The credential for the first scheme the operation takes, in the order of `READERS`; None when none was sent.

    Problem 401 when a bearer was sent in a form no scheme of the operation has.
    """
    readers, bearers = _taken(operation.schemes)
    for scheme, reader in readers:
        if secret := reader(headers):
            return Presented(scheme, secret)
    return _bearer(bearers, headers) if bearers else None


def cookies(headers: Mapping[str, str]) -> dict[str, str]:
    """The cookies sent; none when the header cannot be read."""
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def refuse_foreign_origin(headers: Mapping[str, str]) -> None:
    """Problem 403 when a browser sends a cookie from another site's page: no change may be made that way."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise forbidden("A change by cookie must come from this site's own pages")


def _ours(key: str) -> str | None:
    """A key of this server's; clients of Anthropic may send their own beside it."""
    return key if key.startswith("sy_") else None


# The admin header is looked at before `Authorization`.
READERS: Mapping[str, Reader] = {
    "sy_admin_header": lambda headers: headers.get("x-admin-key"),
    "sy_api_key": lambda headers: _ours(headers.get("x-api-key", "")),
    "box_key": lambda headers: headers.get("x-api-key"),
    "desk_key": lambda headers: headers.get("x-api-key"),
    "provider_api_key": lambda headers: None if "authorization" in headers else headers.get("x-api-key"),
    "outsend_session": lambda headers: None if "authorization" in headers else cookies(headers).get(SESSION_COOKIE),
}
BEARERS = ("sy_key", "provider_key", "stout_bearer", "desk_bearer")


@lru_cache
def _taken(schemes: frozenset[str]) -> tuple[tuple[tuple[str, Reader], ...], tuple[str, ...]]:
    """How the schemes of an operation are read: those with headers or cookies of their own, then the bearers."""
    return (
        tuple((scheme, reader) for scheme, reader in READERS.items() if scheme in schemes),
        tuple(bearer for bearer in BEARERS if bearer in schemes),
    )


def _bearer(taken: tuple[str, ...], headers: Mapping[str, str]) -> Presented | None:
    kind, _, token = headers.get("authorization", "").partition(" ")
    token = token.strip()
    if not kind:
        return None
    if kind.lower() != "bearer" or not token:
        raise unauthorized("Send the credential as Authorization: Bearer ...")
    scheme = _form(token)
    return Presented(scheme if scheme in taken else taken[0], token)


def _form(token: str) -> str:
    """The bearer scheme a token has the form of."""
    if token.startswith("sy_"):
        return "sy_key"
    if token.count(".") == 2:  # noqa: PLR2004 (the three parts of a JWT)
        return {ACCESS: "stout_bearer", DESK: "desk_bearer"}.get(kind_of(token), "stout_bearer")
    return "provider_key"
