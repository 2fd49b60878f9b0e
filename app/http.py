"""What handlers write: answers, pages, and who is asking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from app.runtime import runtime
from app.security.cookies import cleared, kept
from app.security.credentials import cookies, refuse_foreign_origin
from app.security.principals import Device, Principal
from app.security.scopes import READS
from app.wire.call import current
from app.wire.pages import STYLES, Listing, Window
from models.base import REVISED, session, transaction

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that says more than its JSON body. `status` None means the operation's only 2xx."""

    body: Any = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"
    cookies: tuple[str, ...] = field(default=(), repr=False)


def created(body: Json, location: str) -> Answer:
    """201 with the address of what was made."""
    return Answer(body, 201, {"location": location})


def caller() -> Principal:
    """Who is asking."""
    return current().principal


def device() -> Device:
    """Where the request came from, as sessions remember it."""
    call = current()
    return Device(call.headers.get("user-agent", "")[:300], call.client)


def cookie(name: str) -> str | None:
    """A cookie of the request; a 403 Problem when another site's page made the browser send it."""
    call = current()
    value = cookies(call.headers).get(name)
    if value and call.operation.method not in READS:
        refuse_foreign_origin(call.headers)
    return value


def keeping(**values: str) -> tuple[str, ...]:
    """`Set-Cookie` values for these cookies, as the settings want them; those without a value are left out."""
    secure = runtime().settings.secure_cookies
    return tuple(kept(name, value, secure=secure) for name, value in values.items() if value)


def forgetting() -> tuple[str, ...]:
    """`Set-Cookie` values that end every cookie of this server."""
    return cleared(secure=runtime().settings.secure_cookies)


@contextmanager
def transact(*, write: bool = True) -> Iterator[Session]:
    """One transaction of an operation whose document says `x-transaction: own`; its end tells of what it revised.

    Such operations hash passwords, which takes longer than a lock may be held, or refuse and yet keep what they wrote.
    """
    held = runtime()
    with transaction(held.engine, write=write) as opened:
        yield opened
    if opened.info.get(REVISED):
        held.changed()


def page(listing: Listing, **window: Any) -> Json:
    """One page of a listing, in the envelope of the operation's dialect."""
    call = current()
    style = call.manners["pages"]
    return STYLES[style](session(), listing, Window(**window))
