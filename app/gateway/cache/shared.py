"""Answers that workers share: read in batches, written behind the calls' backs, never waited for long.

A store that is away, slow or wrong is a miss. It is left alone for a second then, so that no call pays for it twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import orjson

from app.gateway.cache.memory import Found, Kept
from app.gateway.cache.packing import pack, unpack
from app.gateway.cache.store import Entry, Room, Store
from app.security.sealing import Keyring, UnsealError

log = logging.getLogger("yardmaster.cache")
T = TypeVar("T")
PATIENCE_S = 0.05
REST_S = 1.0
# Answers gather for this long before they are written: a database writes a hundred as fast as one.
GATHER_S = 0.05
MOST_WAITING = 500
MOST_WAITING_BYTES = 32 * 1024 * 1024
AT_ONCE = 100
TEND_S = 30.0
# What a worker may write, as a share of the room, before it looks whether there is too much.
UNTENDED = 10
LARGEST_SHARE = 16


@dataclass(frozen=True, slots=True)
class Fresh:
    """An answer to be stored: in chat's words, `raw` where that is there already.

    `size` is about how many bytes it has; `expires` is in epoch seconds.
    """

    key: str
    user_id: int | None
    epoch: int
    raw: bytes | None
    size: int
    kept: Kept
    expires: float


class SharedAnswers:
    """One worker's way to the store. All of it happens on the event loop but for what the store and sealing do."""

    def __init__(self, store: Store, secrets: Keyring) -> None:
        self._store, self._secrets = store, secrets
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._asked: dict[tuple[str, int], asyncio.Future[Found | None]] = {}
        self._turn: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._waiting: deque[Fresh] = deque()
        self._waiting_bytes = 0
        self._rests_until = 0.0
        self._tended, self._written, self._written_bytes = 0.0, 0, 0
        self.room = Room(10_000, 256 * 1024 * 1024)
        self.epoch = 0
        self.patience_s = PATIENCE_S
        self.failures = self.dropped = 0

    @property
    def name(self) -> str:
        """The store's name."""
        return self._store.name

    async def get(self, key: str, epoch: int) -> Found | None:
        """The answer, expiring in epoch seconds; None when there is none, or none in time."""
        if time.monotonic() < self._rests_until or len(self._asked) >= MOST_WAITING:
            return None
        loop = asyncio.get_running_loop()
        asked = self._asked.setdefault((key, epoch), loop.create_future())
        if self._turn is None:
            self._turn = loop.create_task(self._take_turns())
        done, _ = await asyncio.wait((asked,), timeout=self.patience_s)
        if not done:
            self._rest("it does not answer in time")
            return None
        return asked.result()

    def put(self, fresh: Fresh) -> None:
        """Store it soon; not at all when too much waits already, or when it is too large."""
        if len(self._waiting) >= MOST_WAITING or self._waiting_bytes + fresh.size > MOST_WAITING_BYTES:
            self.dropped += 1
            return
        self._waiting.append(fresh)
        self._waiting_bytes += fresh.size
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def held(self, epoch: int) -> tuple[int, int] | None:
        """How many answers the store has, and their bytes; None while it does not say."""
        return await self._quietly(lambda: self._store.held(epoch))

    def count(self) -> int:
        """How many answers the store has, as far as it says; on the caller's thread."""
        try:
            return self._store.held(self.epoch)[0]
        except Exception as error:  # noqa: BLE001 (as below)
            self._rest(type(error).__name__)
            return 0

    def clear(self, epoch: int) -> None:
        """Delete all up to this epoch, as far as the store lets us; on the caller's thread."""
        try:
            self._store.clear(epoch)
        except Exception as error:  # noqa: BLE001 (nobody can read what stays there, and it expires)
            self._rest(type(error).__name__)

    def tidy(self) -> None:
        """Delete soon what is over, whether somebody writes or not."""
        self._tidying = asyncio.get_running_loop().create_task(
            self._quietly(lambda: self._store.tend(self.room, self.epoch))
        )

    async def stop(self) -> None:
        """Write what waits, and let the threads end."""
        if self._writing:
            await self._writing
        for task in (self._turn, self._tidying):
            if task:
                await task
        for thread in self._threads.values():
            thread.shutdown(wait=False)
        self._threads = {}

    async def _take_turns(self) -> None:
        try:
            while self._asked:
                batch, self._asked = self._asked, {}
                found = await self._quietly(partial(self._look, batch), "reading") or {}
                for asked, answer in batch.items():
                    if not answer.done():
                        answer.set_result(found.get(asked))
        finally:
            self._turn = None

    def _look(self, asked: Collection[tuple[str, int]]) -> dict[tuple[str, int], Found]:
        found: dict[tuple[str, int], Found] = {}
        for epoch in {epoch for _, epoch in asked}:
            stored = self._store.get([key for key, at in asked if at == epoch], epoch)
            for key, (sealed, expires) in stored.items():
                try:
                    found[key, epoch] = unpack(key, sealed, expires, self._secrets)
                except (UnsealError, ValueError, TypeError):  # of a keyring or a release that was
                    continue
        return found

    async def _write(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S)
                batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
                self._waiting_bytes -= sum(fresh.size for fresh in batch)
                await self._quietly(partial(self._store_all, batch))
        finally:
            self._writing = None

    def _store_all(self, batch: Sequence[Fresh]) -> None:
        largest = self.room.bytes // LARGEST_SHARE
        entries = [entry for fresh in batch if (entry := self._sealed(fresh)) and len(entry.sealed) <= largest]
        self._store.put(entries)
        self._written += len(entries)
        self._written_bytes += sum(len(entry.sealed) for entry in entries)
        if self._is_due():
            self._tended, self._written, self._written_bytes = time.monotonic(), 0, 0
            self._store.tend(self.room, self.epoch)

    def _sealed(self, fresh: Fresh) -> Entry | None:
        try:
            said = orjson.dumps(fresh.kept.body) if fresh.raw is None else fresh.raw
            sealed = pack(fresh.key, said, fresh.kept, self._secrets)
        except (TypeError, ValueError):  # what is no JSON stays in memory
            return None
        return Entry(fresh.key, fresh.user_id, fresh.epoch, fresh.expires, sealed)

    def _is_due(self) -> bool:
        over = self._written * UNTENDED >= self.room.entries or self._written_bytes * UNTENDED >= self.room.bytes
        return over or time.monotonic() >= self._tended + TEND_S

    async def _quietly(self, work: Callable[[], T], thread: str = "writing") -> T | None:
        """What the store says, asked in a thread of its own; None, and a rest, when it fails."""
        if thread not in self._threads:
            self._threads[thread] = ThreadPoolExecutor(1, f"answers-{thread}")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads[thread], work)
        except Exception as error:  # noqa: BLE001 (whatever it is, a call goes on without the cache)
            self._rest(type(error).__name__)
            return None

    def _rest(self, why: str) -> None:
        self.failures += 1
        if time.monotonic() >= self._rests_until:
            log.warning("the shared cache in the %s is left alone for a moment: %s", self._store.name, why)
        self._rests_until = time.monotonic() + REST_S
