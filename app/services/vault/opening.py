"""Opening: what was sealed is read while its key is here, and is said to be sealed while it is not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import orjson
from sqlalchemy.orm import Session

from app.security.sealing import UnsealError, unseal, unseal_bytes
from app.services.observing.switched import settings_of
from app.services.trace_record import TraceRecord
from app.services.vault import keys
from app.services.vault.closing import (
    ERROR,
    HELD,
    MARK,
    METADATA,
    NAME,
    REQUEST,
    RESPONSE,
    SEALED,
    is_sealed,
    owner_of,
    words,
)
from app.services.vault.keys import Keys, UnusableKeyError
from models.traces import Trace, TraceBody

Json = dict[str, Any]


class Opener:
    """Opens parts of one call, or of one person's things; `shut` are those it could not open.

    Keys are looked for when something sealed is met, by the stored settings, whether the module is on or not.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.shut: list[str] = []

    @cached_property
    def _keys(self) -> Keys:
        """UnsealError when there are none."""
        try:
            return keys.read(settings_of(self._session, NAME)["key_env"])
        except UnusableKeyError as error:
            raise UnsealError(str(error)) from None

    def body(self, id_: str, part: str, body: bytes | None) -> bytes | None:
        """The body of a call; None when it is none, or stays shut."""
        if body is None or not is_sealed(body):
            return body
        try:
            return unseal_bytes(body.removeprefix(MARK), owner_of(id_, part), self._keys)
        except UnsealError:
            self.shut.append(part)
            return None

    def error(self, id_: str, error: str | None) -> str | None:
        """What a call's error said; None when it said nothing, or stays shut."""
        if error is None or not error.startswith(SEALED):
            return error
        return self._text(error, owner_of(id_, ERROR), ERROR)

    def details(self, id_: str, details: Json) -> Json:
        """A call's metadata; without what stays shut of it."""
        held = details.get(HELD) if isinstance(details, dict) else None
        if not isinstance(held, str) or not held.startswith(SEALED):
            return details
        told = {name: value for name, value in details.items() if name != HELD}
        text = self._text(held, owner_of(id_, METADATA), METADATA)
        return told | (orjson.loads(text) if text is not None else {})

    def turns(self, turns: Sequence[Sequence[str]], owner: str) -> list[list[str]]:
        """Remembered turns; none when they stay shut."""
        if len(turns) != 1 or turns[0][0] != HELD:
            return [list(turn) for turn in turns]
        text = self._text(turns[0][1], owner, HELD)
        return orjson.loads(text) if text is not None else []

    def _text(self, sealed: str, owner: str, part: str) -> str | None:
        try:
            return unseal(sealed.removeprefix(SEALED), owner, self._keys)
        except UnsealError:
            self.shut.append(part)
            return None


def parts(session: Session, trace: Trace, body: TraceBody | None) -> Json:
    """What was said in a call, and of it, by the names it is shown under; what stays shut is named instead."""
    opener = Opener(session)
    bodies = {part: opener.body(trace.id, part, getattr(body, part, None)) for part in (REQUEST, RESPONSE)}
    told: Json = {f"{part}_body": words(said) for part, said in bodies.items() if said is not None}
    if (error := opener.error(trace.id, trace.error)) is not None:
        told[ERROR] = error
    told[METADATA] = opener.details(trace.id, trace.details)
    return told | ({"sealed": opener.shut} if opener.shut else {})


def heard(session: Session, rows: Sequence[TraceRecord]) -> Sequence[TraceRecord]:
    """The calls with their answers opened, for those who count what answers say; without an answer that stays shut."""
    if not any(is_sealed(row.response_body) for row in rows):
        return rows
    opener = Opener(session)
    return [row._replace(response_body=opener.body(row.id, RESPONSE, row.response_body)) for row in rows]
