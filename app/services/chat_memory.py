"""Chat memory: the latest turns of a user's conversation in a project, read before a call and written after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, delete, select
from sqlalchemy.orm import Session

from app.engine import Context
from app.gateway.modules.catalogue import parse_duration
from app.services.vault.closing import in_force
from app.services.vault.opening import Opener
from models.base import now, transaction
from models.chat import ChatMemory

# Characters kept of one conversation, and of one turn: a memory is no archive.
MOST_CHARACTERS = 200_000
LONGEST_TURN = 20_000
Turn = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose conversation, and where."""

    user_id: int
    project: str


@dataclass(frozen=True, slots=True)
class Said:
    """What one call adds: its turns, how many messages stay in all, and the silence that ends a conversation."""

    owner: Owner
    turns: tuple[Turn, ...] = field(repr=False)
    most: int
    silence_s: float


def read(engine: Engine, owner: Owner, silence_s: float) -> list[Turn]:
    """The turns remembered, oldest first; none after so many seconds of silence."""
    since = now() - timedelta(seconds=silence_s)
    with transaction(engine, write=False) as session:
        turns = session.scalar(_own(owner).where(ChatMemory.updated_at >= since))
        return [(role, text) for role, text in Opener(session).turns(turns or (), whose(owner.user_id, owner.project))]


def whose(user_id: int, project: str) -> str:
    """What a conversation is sealed for."""
    return f"chat:{user_id}:{project}"


def forget(engine: Engine, owner: Owner) -> None:
    """End the conversation."""
    with transaction(engine) as session:
        session.execute(delete(ChatMemory).where(*_of(owner)))


def add(engine: Engine, said: Said) -> None:
    """Remember what was said, and no more than is to stay; IntegrityError when the user is gone."""
    with transaction(engine) as session:
        row = session.scalars(select(ChatMemory).where(*_of(said.owner)).with_for_update()).one_or_none()
        if row is None:
            row = _begin(session, said.owner)
        over = row.updated_at < now() - timedelta(seconds=said.silence_s)
        own, rule = whose(row.user_id, row.project), in_force(session)
        before = [] if over else Opener(session).turns(row.turns, own)
        turns = _latest([*before, *(list(turn) for turn in said.turns)], said.most)
        row.turns, row.updated_at = rule.turns(turns, own) if rule else turns, now()


def _begin(session: Session, owner: Owner) -> ChatMemory:
    row = ChatMemory(user_id=owner.user_id, project=owner.project, turns=[], updated_at=now())
    session.add(row)
    return row


def _own(owner: Owner) -> Select[tuple[list[Any]]]:
    return select(ChatMemory.turns).where(*_of(owner))


def _of(owner: Owner) -> tuple[ColumnElement[bool], ...]:
    return ChatMemory.user_id == owner.user_id, ChatMemory.project == owner.project


def _latest(turns: Sequence[list[str]], most: int) -> list[list[str]]:
    """The newest turns that fit, beginning with a question."""
    kept: list[list[str]] = []
    room = MOST_CHARACTERS
    for role, text in reversed(turns):
        room -= len(text)
        if len(kept) >= most or room < 0:
            break
        kept.insert(0, [role, text])
    while kept and kept[0][0] != "user":
        kept.pop(0)
    return kept


class Sweep:
    """The engine's turn that deletes conversations that fell silent, whether the module is on or not."""

    def __init__(self, engine: Engine, settings: Callable[[], Mapping[str, Any]]) -> None:
        self._engine = engine
        self._settings = settings

    def __call__(self, _context: Context) -> None:
        """Delete them all."""
        since = now() - timedelta(seconds=parse_duration(self._settings()["session_ttl"]))
        with transaction(self._engine) as session:
            session.execute(delete(ChatMemory).where(ChatMemory.updated_at < since))
