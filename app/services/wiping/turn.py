"""The hourly turn of `retentionwipe`: what is past its age goes in small transactions, then the ledger is told once.

What a transaction took is counted in it, beside how far it came: a worker that dies between two of them loses nothing,
and the next turn goes on and tells of both. Of workers that go at once, each takes what the others left.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.engine import Context
from app.gateway.modules.catalogue import parse_duration
from app.services.observing.switched import Settings, enabled
from app.services.trust import ledger
from app.services.wiping import calls, others
from models.base import now, transaction
from models.views.fields import rfc3339
from models.wiping import TextWipe

log = logging.getLogger("yardmaster.retention")
Json = dict[str, Any]
Step = Callable[[Session, TextWipe, datetime], tuple[Counter[str], bool]]
NAME: Final = "retentionwipe"
ONLY: Final = 1
PAUSE_S: Final = 0.05
EMPTYING: Final[Sequence[Step]] = (calls.late, calls.due)
DELETING: Final[Sequence[Step]] = (calls.whole,)
BESIDE: Final[Sequence[Step]] = (
    others.conversations,
    others.answers,
    others.previews,
    others.held,
    others.messages,
    others.training_lines,
)


class Turn:
    """The engine's turn."""

    def __init__(self, engine: Engine, *, pause_s: float = PAUSE_S) -> None:
        self._engine = engine
        self._pause_s = pause_s

    def __call__(self, context: Context) -> None:
        """Wipe what is past its age while the module is on, with a pause after each batch; then tell of it."""
        with transaction(self._engine, write=False) as session:
            settings = enabled(session, NAME)
        if settings is None:
            return
        limit = now() - timedelta(seconds=parse_duration(settings["max_age"]))
        for step in (*(EMPTYING if settings["keep_figures"] else DELETING), *BESIDE):
            while self._goes_on(step, limit):
                context.pause(self._pause_s)
        self._tell(settings, limit)

    def _goes_on(self, step: Step, limit: datetime) -> bool:
        """One batch; whether there is another."""
        with transaction(self._engine) as session:
            state = _held(session)
            taken, more = step(session, state, limit)
            state.untold = _sum(state.untold, taken)
        return more

    def _tell(self, settings: Settings, limit: datetime) -> None:
        """One entry in the ledger for what was taken and is not told of yet."""
        with transaction(self._engine) as session:
            state = _held(session)
            if not state.untold:
                return
            left = calls.oldest(session, limit)
            detail = state.untold | {"older_than": rfc3339(limit), "keep_figures": settings["keep_figures"]}
            detail |= {"oldest_left": left and rfc3339(left)}
            ledger.append(ledger.Event("retention", "wiped", NAME, "calls", detail))
            log.info("wiped %s", ", ".join(f"{number} {name}" for name, number in sorted(state.untold.items())))
            state.told, state.told_at = _sum(state.told, Counter(state.untold)), now()
            state.untold = {}


def stats(session: Session) -> Json:
    """What was wiped in all, and up to which moment calls hold no text."""
    state = session.get_one(TextWipe, ONLY)
    reached = rfc3339(state.reached_at) if state.reached_seq else None
    return {"wiped": state.told, "wiped_at": state.told_at and rfc3339(state.told_at), "emptied_up_to": reached}


def _held(session: Session) -> TextWipe:
    """How far it came, held until the transaction is over: only one worker at a time."""
    return session.get_one(TextWipe, ONLY, with_for_update=True)


def _sum(held: dict[str, int], taken: Counter[str]) -> dict[str, int]:
    return dict(+(Counter(held) + taken))
