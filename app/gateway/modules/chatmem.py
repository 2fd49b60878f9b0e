"""Chat memory: earlier turns of a user's conversation come before a new one, so that nobody has to send them again."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import last_text, role_of
from app.gateway.modules.catalogue import parse_duration
from app.gateway.modules.detectors import warn
from app.gateway.modules.words import words_of
from app.gateway.restoring import remembered
from app.gateway.steps import Module, Place, Steps
from app.gateway.wire import Json, Kind
from app.services import chat_memory
from app.services.chat_memory import LONGEST_TURN, Owner, Said, Turn

log = logging.getLogger("yardmaster.chatmem")
NAME: Final = "chatmem"
WANTED: Final = "x-memory"
ON, OFF, FORGET = "on", "off", "forget"
OPERATORS: Final = frozenset({"system", "developer"})
# Turns that wait to be written; only a database that is away for long loses any.
MOST_WAITING: Final = 1_000


@dataclass(slots=True)
class Asked:
    """What a call asked, whose conversation it goes on with, and whether its answer is known: it is given once."""

    owner: Owner
    question: str = field(repr=False)
    answered: bool = False


class Chatmem(Module):
    """Read from the database before a call, written beside it after: every worker knows what any of them heard."""

    COUNTS = ("recalled", "remembered", "forgotten", "lost")

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[Said] = deque(maxlen=MOST_WAITING)
        self._turn: asyncio.Task[None] | None = None

    def settle_in(self, place: Place) -> None:
        """It remembers in the database."""
        self._engine: Engine = place.engine

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Recall before the call, remember after it."""
        silence_s, most = parse_duration(settings["session_ttl"]), settings["max_messages"]
        default, by_words = (OFF if settings["opt_in"] else ON), settings["strategy"] == "importance"

        async def request(exchange: Exchange) -> None:
            wish, owner = exchange.call.headers.get(WANTED, default).lower(), _owner(exchange)
            if owner is None or wish == OFF:
                return
            await self._written()
            question = last_text(exchange.body)
            exchange.keep(NAME, Asked(owner, question))
            if wish == FORGET:
                await asyncio.to_thread(chat_memory.forget, self._engine, owner)
                self.counted["forgotten"] += 1
            elif settings["inject_memory"] and not _holds_answers(exchange.body):
                known = await self._read(exchange, owner, silence_s)
                turns = _telling(known, question) if by_words else known
                _recall(exchange, turns)
                self.counted["recalled"] += len(turns)

        def settled(exchange: Exchange) -> None:
            asked, answer = exchange.taken(NAME), _answer(exchange)
            if isinstance(asked, Asked) and answer and not asked.answered:
                asked.answered = True
                question = remembered(None, asked.question)
                turns = ("user", question[:LONGEST_TURN]), ("assistant", answer[:LONGEST_TURN])
                self._remember(Said(asked.owner, turns, most, silence_s))

        return Steps(request=request, settled=settled)

    async def _read(self, exchange: Exchange, owner: Owner, silence_s: float) -> list[Turn]:
        """What is remembered; where it cannot be read the call goes on without it, and its caller is told."""
        try:
            return await asyncio.to_thread(chat_memory.read, self._engine, owner, silence_s)
        except SQLAlchemyError as error:
            log.warning("a conversation cannot be read: %s", type(error).__name__)
            warn(exchange, "chatmem.unread")
            return []

    def _remember(self, said: Said) -> None:
        self.counted["lost"] += len(self._waiting) == MOST_WAITING
        self._waiting.append(said)
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._add(self._waiting.popleft())
        finally:
            self._turn = None

    async def _add(self, said: Said) -> None:
        """Write it, again when another worker began the same conversation at the same moment."""
        for again in (True, False):
            try:
                await asyncio.to_thread(chat_memory.add, self._engine, said)
            except IntegrityError:  # or its user is gone, and with them what they said
                if again:
                    continue
            except Exception as error:  # noqa: BLE001 (whatever it is, the next call must not fail of it)
                log.warning("a turn cannot be remembered: %s", type(error).__name__)
                self.counted["lost"] += 1
            else:
                self.counted["remembered"] += 1
            return

    async def _written(self) -> None:
        """Wait for what this worker has still to write: a caller's own last word must not be missing."""
        if self._turn is not None:
            await asyncio.shield(self._turn)

    async def stop(self) -> None:
        """Write the rest."""
        await self._written()


def _recall(exchange: Exchange, turns: Sequence[Turn]) -> None:
    """Put the turns between what the operator says and what the caller does."""
    if not turns:
        return
    messages = exchange.body["messages"]
    at = next((n for n, message in enumerate(messages) if role_of(message) not in OPERATORS), len(messages))
    earlier = [{"role": role, "content": text} for role, text in turns]
    exchange.body = {**exchange.body, "messages": [*messages[:at], *earlier, *messages[at:]]}
    exchange.details["remembered"] = len(turns)


def _owner(exchange: Exchange) -> Owner | None:
    """Whose conversation a call goes on with; None for one that is none, or no user's."""
    messages, user = exchange.body.get("messages"), exchange.call.principal.user_id
    if exchange.kind is Kind.EMBEDDINGS or user is None or not isinstance(messages, list) or not messages:
        return None
    return Owner(user, exchange.project) if role_of(messages[-1]) == "user" else None


def _holds_answers(body: Json) -> bool:
    """Whether a caller sends earlier turns: then they keep them."""
    return any(role_of(message) not in {"user", *OPERATORS} for message in body["messages"])


def _telling(turns: Sequence[Turn], question: str) -> list[Turn]:
    """The latest question with its answer, and those that share words with what is asked now."""
    asked = words_of(question)
    pairs = [turns[at : at + 2] for at in range(0, len(turns), 2)]
    telling = [pair for pair in pairs[:-1] if any(asked & words_of(text) for _, text in pair)]
    return [turn for pair in (*telling, *pairs[-1:]) for turn in pair]


def _answer(exchange: Exchange) -> str:
    """What was answered in words, as it may be kept; empty when it failed, or was a call for tools."""
    if exchange.status not in {"ok", "cache_hit"} or not exchange.said:
        return ""
    choices = exchange.said.get("choices") or [{}]
    text = (choices[0].get("message") or {}).get("content")
    return remembered(exchange.restore, text) if isinstance(text, str) else ""
