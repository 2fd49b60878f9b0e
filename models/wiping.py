"""How far the wiping of texts past their age has come, and what it took."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from models.base import EPOCH, Base


class TextWipe(Base):
    """One row. Calls up to (`reached_at`, `reached_seq`) hold no text, those after the number `seen` excepted.

    `untold` is what was wiped and is not in the ledger yet, `told` what is there of all turns, `told_at` since when.
    """

    __tablename__ = "text_wipes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    reached_at: Mapped[datetime] = mapped_column(default=EPOCH)
    reached_seq: Mapped[int] = mapped_column(default=0)
    seen: Mapped[int] = mapped_column(default=0)
    untold: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    told: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    told_at: Mapped[datetime | None]
