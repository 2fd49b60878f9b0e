"""What handlers write: answers, pages, and who is asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.security.principals import Principal
from app.wire.call import current
from app.wire.pages import STYLES, Listing, Window
from models.base import session

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that says more than its JSON body. `status` None means the operation's only 2xx."""

    body: Any = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


def created(body: Json, location: str) -> Answer:
    """201 with the address of what was made."""
    return Answer(body, 201, {"location": location})


def caller() -> Principal:
    """Who is asking."""
    return current().principal


def page(listing: Listing, **window: Any) -> Json:
    """One page of a listing, in the envelope of the operation's dialect."""
    call = current()
    style = call.manners["pages"]
    return STYLES[style](session(), listing, Window(**window))
