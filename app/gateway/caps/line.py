"""The line in front of the store: whatever waits goes in one turn, so that fifty calls cost one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from app.gateway.caps.store import Operation, Outcome, Reserve, Settle, Store, StoreError

log = logging.getLogger("yardmaster.caps")
Waiting = asyncio.Future[Outcome]


class Line:
    """One worker's operations, in the order they come. A settlement the store did not take is brought again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[tuple[Operation, Waiting | None]] = []
        self._late: list[Settle] = []
        self._turn: asyncio.Task[None] | None = None

    async def ask(self, operation: Reserve) -> Outcome:
        """Reserve; StoreError when the store does not answer. One who does not wait for the outcome holds nothing."""
        answer: Waiting = asyncio.get_running_loop().create_future()
        self._join(operation, answer)
        return await answer

    def tell(self, operation: Settle) -> None:
        """Settle, as soon as it may be."""
        self._join(operation, None)

    def retry(self) -> None:
        """Bring again what the store did not take."""
        late, self._late = self._late, []
        for operation in late:
            self.tell(operation)

    async def flush(self) -> None:
        """Until nothing waits."""
        self.retry()
        while self._turn:
            await self._turn

    def _join(self, operation: Operation, answer: Waiting | None) -> None:
        self._waiting.append((operation, answer))
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_task(self._take_turns())

    async def _take_turns(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._carry_out(batch)
        finally:
            self._turn = None

    async def _carry_out(self, batch: Sequence[tuple[Operation, Waiting | None]]) -> None:
        try:
            outcomes = await asyncio.to_thread(self._store.apply, [operation for operation, _ in batch])
        except Exception as error:  # noqa: BLE001 (whatever it is, nobody may wait for ever)
            self._failed(batch, error)
            return
        for (operation, answer), outcome in zip(batch, outcomes, strict=True):
            if answer is not None and not answer.done():
                answer.set_result(outcome)
            elif answer is not None and outcome is None:  # its caller went away meanwhile
                self._waiting.append((Settle(operation.id, 0), None))

    def _failed(self, batch: Sequence[tuple[Operation, Waiting | None]], error: Exception) -> None:
        unknown = None if isinstance(error, StoreError) else error
        log.warning("budgets cannot be checked: their store does not answer (%s)", error, exc_info=unknown)
        self._late += [operation for operation, _ in batch if isinstance(operation, Settle)]
        for _, answer in batch:
            if answer is not None and not answer.done():
                answer.set_exception(StoreError(str(error)))
