"""Reads RFC 3339 moments that the document's `date-time` format has let pass."""

from __future__ import annotations

import re
from datetime import UTC, datetime

LEAP = re.compile(r":60(\.[0-9]+)?")
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


def moment(text: str) -> datetime:
    """The moment in UTC. A leap second is the microsecond before it; years Python has no name for are the nearest."""
    said = LEAP.sub(":59.999999", text.upper(), count=1) if text[17:19] == "60" else text.upper()
    if said.startswith("0000"):
        return EARLIEST
    try:
        return datetime.fromisoformat(said).astimezone(UTC)
    except OverflowError:
        return EARLIEST if said.startswith("0001") else LATEST
