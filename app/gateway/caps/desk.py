"""The desk every call passes before a target is asked: its worst case is held of each budget, then its cost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Engine, select

from app.gateway.caps import budgets, refusals
from app.gateway.caps.bound import MOST_NANO, ONCE, Again, worst_case
from app.gateway.caps.budgets import Budget, Budgets
from app.gateway.caps.line import Line
from app.gateway.caps.notices import Notices
from app.gateway.caps.shares import Shares
from app.gateway.caps.store import LEASE_S, Outcome, Reserve, Settle, Store, StoreError
from app.gateway.modules.catalogue import parse_duration
from app.services.spending.counters import Key
from app.services.spending.periods import periods
from models.base import now, transaction
from models.identity import User

if TYPE_CHECKING:
    from app.gateway.config import Config
    from app.gateway.exchange import Exchange
    from app.gateway.prices.table import PriceTable
    from app.gateway.wire import Target

log = logging.getLogger("yardmaster.caps")
EVERY_S = 1.0
RENEW_S = LEASE_S / 4
# A second look at a budget that only calls under way keep full: they may have ended elsewhere by then.
SECOND_LOOK_S = 0.1
# A call older than this is one that was lost track of; what it holds may lapse.
LONGEST_CALL_S = 21_600.0
MOST_USERS = 10_000


@dataclass(frozen=True, slots=True)
class Held:
    """What a call under way holds: nano-dollars, and since when.

    The counters come with the most each may reach, and whether its budget is a soft one.
    """

    amount: int
    counters: tuple[tuple[Key, int, bool], ...]
    since: float


class Caps:
    """One worker's budgets. Where none is set anywhere, a call costs one look at an empty table."""

    def __init__(self, engine: Engine, store: Store, tend_every_s: float = 30.0) -> None:
        self._engine, self._store, self._tend_every_s = engine, store, tend_every_s
        self._line, self.shares = Line(store), Shares(engine)
        self._tiers: dict[int, str] = {}
        self._task: asyncio.Task[None] | None = None
        self.budgets = Budgets()
        self.notices = Notices(engine)
        self.under_way: dict[str, Held] = {}
        self.admitted = self.refused = self.beyond = 0

    def configure(self, config: Config) -> None:
        """Take over the settings and the users' own caps."""
        spend, costcap = config.of("spend"), config.of("costcap")
        self._assumed, self._refuses_unpriced = costcap["assumed_output_tokens"], costcap["unpriced"] == "refuse"
        self.notices.configure(
            [*spend["thresholds"], costcap["notify_at_pct"] / 100], parse_duration(spend["debounce"])
        )
        self._tiers = {}
        self.budgets = budgets.load(self._engine, config)

    def start(self) -> None:
        """Begin to keep what calls under way hold."""
        self._task = asyncio.get_running_loop().create_task(self._tend())

    async def stop(self) -> None:
        """Bring the last settlements to the store."""
        if self._task:
            self._task.cancel()
        await self._line.flush()

    async def hold(self, exchange: Exchange, targets: list[Target], prices: PriceTable) -> list[Target]:
        """Reserve the call's worst case; the targets it may be sent to, or Problem 429, 403 or 503."""
        if not self.budgets:
            return targets
        owed = self.budgets.of(exchange, targets, await self._tier(exchange) if self.budgets.tiers else "")
        if not owed:
            return targets
        hard = not all(budget.soft for budget in owed)
        amounts = self._amounts(exchange, targets, prices, hard=hard)
        kept = [target for target, amount in zip(targets, amounts, strict=True) if amount is not None]
        if not kept:
            raise self._name(exchange, targets[0], refusals.unpriced(exchange, targets[0]))
        await self._reserve(exchange, owed, max(amount or 0 for amount in amounts), kept[0])
        return kept

    async def used(self, exchange: Exchange) -> float:
        """The share that is spent of the fullest budget of the call's payers; 0 where there is none."""
        if not self.budgets:
            return 0.0
        owed = self.budgets.of(exchange, (), await self._tier(exchange) if self.budgets.tiers else "")
        day, month = periods(exchange.created_at)
        return await self.shares.fullest(counter for budget in owed for counter in budget.limits(day, month))

    def settle(self, exchange: Exchange) -> None:
        """Hold what the call cost from now on, until its trace is stored. A price that is not known counts nothing."""
        held = self.under_way.pop(exchange.id, None)
        if held is None:
            return
        cost = min(exchange.cost_nano or 0, MOST_NANO)
        if cost > held.amount:
            self.beyond += 1
            log.warning("call %s cost %d nano-dollars more than its worst case", exchange.id, cost - held.amount)
        self._line.tell(Settle(exchange.id, cost))
        self.notices.touch(held.counters)

    def _amounts(
        self, exchange: Exchange, targets: Sequence[Target], prices: PriceTable, *, hard: bool
    ) -> list[int | None]:
        """The worst case at each target; None where its price is not known and a hard budget must hold it."""
        unknown = None if hard and self._refuses_unpriced else 0
        return [unknown if amount is None else amount for amount in self.worst(exchange, targets, prices)]

    def worst(self, exchange: Exchange, targets: Sequence[Target], prices: PriceTable) -> list[int | None]:
        """Nano-dollars the call cannot cost more than at each target; None where its price is not known."""
        found = [prices.find(target.provider.name, target.model) for target in targets]
        again = Again(exchange.chain.again, exchange.chain.room) if exchange.chain else ONCE
        sent = len(exchange.call.raw)
        return [
            worst_case(exchange.kind, exchange.body, p, self._assumed, sent_bytes=sent, again=again) if p else None
            for p in found
        ]

    async def _reserve(self, exchange: Exchange, owed: Sequence[Budget], amount: int, first: Target) -> None:
        day, month = periods(exchange.created_at)
        asked = Reserve(exchange.id, amount, budgets.limits(owed, day, month))
        try:
            refusal = await self._ask(asked)
        except StoreError:
            if any(limit.most is not None for limit in asked.limits):
                raise self._name(exchange, first, refusals.unheld()) from None
            return
        if refusal:
            if not refusals.busy(asked, refusal):
                self.notices.refuse((limit.key, limit.most or 0) for limit, _ in refusal.full)
            raise self._name(exchange, first, refusals.over(asked, refusal, now()))
        counters = tuple((*counter, budget.soft) for budget in owed for counter in budget.limits(day, month))
        self.under_way[exchange.id] = Held(amount, counters, time.monotonic())
        self.admitted += 1

    async def _ask(self, asked: Reserve) -> Outcome:
        refusal = await self._line.ask(asked)
        if refusal and refusals.busy(asked, refusal):
            await asyncio.sleep(SECOND_LOOK_S)
            refusal = await self._line.ask(asked)
        return refusal

    def _name(self, exchange: Exchange, target: Target, problem: Exception) -> Exception:
        """The refusal; its trace says where the call would have gone."""
        self.refused += 1
        exchange.provider, exchange.model = target.provider.name, target.model
        return problem

    async def _tier(self, exchange: Exchange) -> str:
        """The plan of the calling user."""
        user = exchange.call.principal.user_id
        if user is None:
            return ""
        known = self._tiers.get(user)
        if known is None:
            held = self._tiers
            known = await asyncio.to_thread(self._read_tier, user)
            if len(held) < MOST_USERS:
                held[user] = known
        return known

    def _read_tier(self, user: int) -> str:
        with transaction(self._engine, write=False) as session:
            return session.scalar(select(User.tier).where(User.id == user)) or ""

    async def _tend(self) -> None:
        """Keep what is held, let go what is lost, tell of thresholds; a store that is away is asked again."""
        renewed = tended = 0.0
        while True:
            await asyncio.sleep(EVERY_S)
            self._line.retry()
            if not self.budgets and not self.under_way:
                continue
            moment = time.monotonic()
            if moment >= renewed + RENEW_S:
                renewed = moment
                await self._quietly(self._renew)
            if moment >= tended + self._tend_every_s:
                tended = moment
                await self._quietly(self._store.tend)
            await self._quietly(self.notices.look)

    async def _quietly(self, work: Callable[[], object]) -> None:
        try:
            await asyncio.to_thread(work)
        except Exception as error:  # noqa: BLE001 (a store away for a moment must not end the tending)
            log.warning("budgets cannot be tended: %s", type(error).__name__)

    def _renew(self) -> None:
        oldest = time.monotonic() - LONGEST_CALL_S
        if ids := [id_ for id_, held in list(self.under_way.items()) if held.since > oldest]:
            self._store.renew(ids)
