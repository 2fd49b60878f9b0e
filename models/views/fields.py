"""Fields that several views share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from marshmallow.fields import Field


class Timestamp(Field[datetime]):
    """A moment as RFC 3339 in UTC with `Z`; `timespec` is `milliseconds` or, in dialects that want it, `seconds`."""

    def __init__(self, *, timespec: str = "milliseconds", **options: Any) -> None:
        super().__init__(**options)
        self._timespec = timespec

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **_: Any) -> str | None:  # noqa: ARG002
        return None if value is None else rfc3339(value, self._timespec)


def rfc3339(moment: datetime, timespec: str = "milliseconds") -> str:
    """An aware moment as `2026-05-19T10:00:00.000Z`; finer digits are cut, not rounded."""
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
