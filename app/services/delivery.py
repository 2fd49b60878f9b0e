"""Delivers the outbox: each mail once, and again after a failure that may pass."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from app.engine import Context
from app.outbound.mail import Server, send
from app.services.mail import hand_over
from models.base import now, transaction
from models.mail import Mail

log = logging.getLogger("yardmaster.mail")
WAITS = tuple(timedelta(minutes=m) for m in (1, 5, 15, 60, 240, 720))


@dataclass(frozen=True, slots=True)
class Delivery:
    """Carries the tries out. A crash between the server's yes and our note of it sends the mail again, under its id."""

    engine: Engine
    server: Server
    sender: str

    def __call__(self, key: str, context: Context) -> None:
        """Try a mail, and note what came of it; the key is the mail's and the number of the try."""
        id_, _, tries = key.partition(".")
        with transaction(self.engine, write=False) as session:
            mail = session.get(Mail, int(id_))
        if mail is None or mail.status != "queued" or mail.tries >= int(tries):
            return
        told, for_good = context.step("send", lambda: self._send(mail))
        after = _after(told, int(tries), for_good=for_good)
        with transaction(self.engine) as session:
            _note(session, mail, after | {"tries": int(tries)})

    def _send(self, mail: Mail) -> tuple[str, bool]:
        failure = send(self.server, mail, self.sender)
        if failure is None:
            return "", False
        log.warning("mail %s could not be sent: %s", mail.id, failure.told)
        return failure.told, failure.for_good


def _after(told: str, tries: int, *, for_good: bool) -> dict[str, Any]:
    """Failed for good when the server said so or it was tried often enough, else due again later."""
    if not told:
        return {"status": "sent", "sent_at": now(), "error": None}
    if for_good or tries > len(WAITS):
        return {"status": "failed", "error": told}
    return {"next_try_at": now() + WAITS[tries - 1], "error": told}


def _note(session: Session, mail: Mail, values: dict[str, Any]) -> None:
    untold = update(Mail).where(Mail.id == mail.id, Mail.status == "queued", Mail.tries == mail.tries)
    noted = session.scalar(untold.values(values).returning(Mail))
    if noted is not None and noted.status == "queued":
        hand_over(noted)
