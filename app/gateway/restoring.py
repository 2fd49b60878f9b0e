"""Puts back into an answer what stand-ins held the place of: for its caller only, after everything was kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.gateway import masks
from app.gateway.flow import Flow
from app.gateway.patterns import linear
from app.gateway.texts import ARGUMENTS, Texts
from app.gateway.wire import Json

_STAND_IN = r"\[[A-Z_]{1,20}_REDACTED_[0-9]{1,6}\]"
STAND_IN = linear(_STAND_IN)
_EITHER = f"{_STAND_IN}|{masks.SHAPES}"  # compiled when it is needed: it takes long


def restorer(mapping: Mapping[str, str]) -> Texts:
    """Texts in which the stand-ins of this call become what they stand for; in JSON arguments as JSON writes it."""
    pattern = STAND_IN if all(STAND_IN.match.fullmatch(held) for held in mapping) else linear(_EITHER)

    def plain(found: Any) -> str:
        return mapping.get(found.group(), found.group())

    def quoted(found: Any) -> str:
        return json.dumps(plain(found), ensure_ascii=False)[1:-1]

    return Texts(lambda field: [Flow(pattern, quoted if field == ARGUMENTS else plain)], hides=False)


def restored(mapping: Mapping[str, str], body: Json) -> Json:
    """A whole answer with everything back in its place."""
    return restorer(mapping).whole(body) if "choices" in body else body


def remembered(mapping: Mapping[str, str] | None, text: str) -> str:
    """A text as later calls of its user may see it: invented people are the real ones again, what was hidden is not.

    A stand-in is numbered within its call, and would stand for something else in the next.
    """
    held = mapping or {}

    def said(found: Any) -> str:
        return "[REDACTED]" if found.group().startswith("[") else held.get(found.group(), found.group())

    return str(linear(_EITHER).match.sub(said, text))
