"""How a machine becomes a box: a token that works once, the script that exchanges it, and the key it is given."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe

from sqlalchemy import ColumnElement, and_, select, update

from app.problems import Problem
from app.security.keys import fingerprint, fingerprints
from app.security.lookups import rejected
from app.security.principals import Principal
from app.security.secrets import Secrets
from app.services import boxes
from app.services.boxes import IssuedKey
from models.base import now, session
from models.boxes import Box, BoxSetup

LIFETIME = timedelta(hours=1)
SCRIPT = Path(__file__).parent / "enrolment_data" / "install-stout.sh"


@dataclass(frozen=True, slots=True)
class Setup:
    """A token that makes a machine the box, this one time, and until when."""

    token: str = field(repr=False)
    expires_at: datetime

    def command(self, base_url: str) -> str:
        """What to run on the machine."""
        address = f"{base_url}/api/box/install-stout?token={self.token}"
        return f"curl -fsSL {shlex.quote(address)} | sudo sh"


def prepare(box: Box, user_id: int | None, secrets: Secrets) -> Setup:
    """A new setup; an older one of the box works no more."""
    boxes.hold(box)
    unused = update(BoxSetup).where(BoxSetup.box_id == box.id, BoxSetup.used_at.is_(None))
    session().execute(unused.values(used_at=now()))
    setup = Setup(token_urlsafe(32), now() + LIFETIME)
    row = BoxSetup(box_id=box.id, created_by_id=user_id, expires_at=setup.expires_at)
    row.token_hash = fingerprint(setup.token, secrets.pepper)
    session().add(row)
    session().flush()
    return setup


def script(token: str, base_url: str, secrets: Secrets) -> str:
    """The shell script that exchanges the token; a 410 Problem when it could not."""
    if session().scalar(select(BoxSetup.id).where(_live(token, secrets))) is None:
        raise _spent()
    given = f"url={shlex.quote(base_url)}\ntoken={shlex.quote(token)}\n"
    return f"#!/bin/sh\n{given}{SCRIPT.read_text(encoding='utf-8')}"


def enrol(token: str, hostname: str | None, version: str | None, secrets: Secrets) -> tuple[Box, IssuedKey]:
    """The box of the token and its new key; a 410 Problem when the token is unknown, used or expired.

    Of many exchanges of one token at once, one wins.
    """
    live = _live(token, secrets)
    box = session().scalar(select(Box).join(BoxSetup, BoxSetup.box_id == Box.id).where(live))
    if box is None:
        raise _spent()
    boxes.hold(box)
    used = update(BoxSetup).where(live).values(used_at=now()).returning(BoxSetup.id)
    if session().execute(used).first() is None:
        raise _spent()
    issued = boxes.rotate_key(box, secrets)
    box.hostname, box.lager_version = hostname or box.hostname, version or box.lager_version
    return box, issued


def of_caller(principal: Principal, *, held: bool = False) -> Box:
    """The box whose key the caller sent, `held` until the transaction ends; a 401 Problem when it was removed."""
    mine = select(Box).where(Box.uid == principal.box)
    box = session().scalar(mine.with_for_update(key_share=True) if held else mine)
    if box is None:
        raise rejected()
    return box


def _live(token: str, secrets: Secrets) -> ColumnElement[bool]:
    known = BoxSetup.token_hash.in_(fingerprints(token, secrets))
    return and_(known, BoxSetup.used_at.is_(None), BoxSetup.expires_at > now())


def _spent() -> Problem:
    return Problem(410, "This setup was used or replaced, or has expired; ask for a new one")
