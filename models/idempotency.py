"""Answers kept under an `Idempotency-Key`, so that a repeated call gets the first one's."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, now


class IdempotentCall(Base):
    """A call under the key its caller chose. `id` is a digest of both and the operation: the key itself is not kept.

    `fingerprint` is a digest of all that and the payload. While the call runs, `sealed_answer` is null, `holder` names
    the run, and `expires_at` is the end of its lease; afterwards it is the end of the answer's keeping.
    """

    __tablename__ = "idempotent_calls"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    holder: Mapped[str] = mapped_column(String(32))
    began_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    size: Mapped[int] = mapped_column(default=0)
    sealed_answer: Mapped[bytes | None] = mapped_column(LargeBinary)
