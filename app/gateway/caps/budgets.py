"""Budgets: which of them a call counts against, looked up in tables made when settings change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, select

from app.gateway.caps.store import Limit
from app.services.rollups import tag_ref, tag_refs
from app.services.spending.counters import MODEL, Key
from app.services.spending.user_caps import cap_nano
from models.base import transaction
from models.spend import SpendCap

if TYPE_CHECKING:
    from app.gateway.config import Config
    from app.gateway.exchange import Exchange
    from app.gateway.wire import Target

Json = Mapping[str, Any]
Payer = tuple[str, str]
USER, KEY, PROJECT, TAG = "user", "key", "project", "tag"
TAGGED = frozenset({"feature", "team"})


@dataclass(frozen=True, slots=True)
class Budget:
    """Nano-dollars a payer may spend in a day and in a month, 0 for no limit. A `soft` one refuses nothing."""

    scope: str
    ref: str
    daily: int
    monthly: int
    soft: bool = False

    def limits(self, day: str, month: str) -> Iterator[tuple[Key, int]]:
        """The counters it is held by and the most each may reach."""
        for period, most in ((day, self.daily), (month, self.monthly)):
            if most:
                yield Key(period, self.scope, self.ref), most


@dataclass(frozen=True, slots=True)
class Budgets:
    """Every budget in force. `project` is for projects without their own, `tiers` for users without their own."""

    named: Mapping[Payer, tuple[Budget, ...]] = field(default_factory=dict)
    tiers: Mapping[str, Budget] = field(default_factory=dict)
    project: Budget | None = None
    apart: frozenset[Payer] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.named or self.tiers or self.project)

    def __len__(self) -> int:
        return sum(map(len, self.named.values())) + len(self.tiers) + (self.project is not None)

    def of(self, exchange: Exchange, targets: Sequence[Target], tier: str = "") -> list[Budget]:
        """Those this call counts against, wherever it may go."""
        user = exchange.call.principal.user_id
        found = [budget for payer in _payers(exchange, targets) for budget in self.named.get(payer, ())]
        if self.project and (PROJECT, exchange.project) not in self.apart:
            found.append(replace(self.project, ref=exchange.project))
        if user is not None and (USER, str(user)) not in self.apart and (budget := self.tiers.get(tier)):
            found.append(replace(budget, ref=str(user)))
        return found


def _payers(exchange: Exchange, targets: Sequence[Target]) -> Iterator[Payer]:
    """Everybody whose counters the call's trace will count in."""
    principal = exchange.call.principal
    yield PROJECT, exchange.project
    if principal.user_id is not None:
        yield USER, str(principal.user_id)
    if principal.key_id is not None:
        yield KEY, str(principal.key_id)
    if exchange.tags:
        yield from ((TAG, ref) for ref in tag_refs(exchange.tags))
    yield from ((MODEL, name) for name in {target.model for target in targets})


def limits(owed: Iterable[Budget], day: str, month: str) -> tuple[Limit, ...]:
    """What the store must hold the call against."""
    return tuple(Limit(key, None if b.soft else most) for b in owed for key, most in b.limits(day, month))


def load(engine: Engine, config: Config) -> Budgets:
    """The budgets the settings and the users' own caps make; none while the modules that hold them are off."""
    named: list[Budget] = []
    apart: set[Payer] = set()
    tiers: dict[str, Budget] = {}
    project = None
    if config.on("costcap"):
        settings = config.of("costcap")
        own = [*_own(engine), *(_budget(PROJECT, p["project"], p) for p in settings["projects"])]
        apart = {(budget.scope, budget.ref) for budget in own}
        named = [*own, *(_budget(KEY, str(k["key"]), k) for k in settings["keys"])]
        tiers = {t["tier"]: _budget(USER, "", t) for t in settings["tiers"]}
        project = _everybodys(settings)
    if config.on("usagepulse"):
        named += [_budget(*_payer(c["dimension"], c["key"]), c) for c in config.of("usagepulse")["caps"]]
    return Budgets(_by_payer(named), tiers, project, frozenset(apart))


def _own(engine: Engine) -> list[Budget]:
    """The caps set on users; one without limits still keeps its user apart from the tier's."""
    with transaction(engine, write=False) as session:
        rows = session.scalars(select(SpendCap)).all()
    return [Budget(USER, str(row.user_id), row.daily_nano, row.monthly_nano, row.soft) for row in rows]


def _everybodys(settings: Json) -> Budget | None:
    daily, monthly = (cap_nano(settings[name]) for name in ("daily_limit_usd", "monthly_limit_usd"))
    made = Budget(PROJECT, "", daily, monthly, soft=settings["action"] == "warn")
    return made if made.daily or made.monthly else None


def _budget(scope: str, ref: str, settings: Json) -> Budget:
    daily, monthly = (cap_nano(settings[name]) for name in ("daily", "monthly"))
    return Budget(scope, ref, daily, monthly, settings["soft"])


def _payer(dimension: str, key: str) -> Payer:
    """Who a dimension's value is, as the rollups name them: features and teams are tags of that name."""
    if dimension in TAGGED:
        return TAG, tag_ref(dimension, key)
    if dimension == "custom":
        return TAG, tag_ref(*(part.strip() for part in key.partition("=")[::2]))
    return dimension, key


def _by_payer(budgets: Iterable[Budget]) -> dict[Payer, tuple[Budget, ...]]:
    held: dict[Payer, tuple[Budget, ...]] = {}
    for budget in budgets:
        if budget.daily or budget.monthly:
            payer = (budget.scope, budget.ref)
            held[payer] = (*held.get(payer, ()), budget)
    return held
