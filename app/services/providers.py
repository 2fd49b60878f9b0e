"""The model providers as an operator sees them: set up or not, healthy or not, and how much was asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, func, select

from app.gateway.chain import circuit
from app.gateway.config import Account
from app.gateway.providers import PROVIDERS, builtin_rules, provider_named
from app.gateway.wire import Provider
from app.problems import conflict, not_found
from app.runtime import runtime
from app.services.probes import ACTIVE, DEGRADED, Verdict, probe
from app.services.rollups import HOUR_US
from app.services.webhooks import announce
from models.base import micros, now, session, transaction
from models.gateway import ProviderHealth, Revision, Route
from models.traces import UsageRollup

Json = dict[str, Any]
WINDOW_H = 24
UNKNOWN = "unknown"


class Traffic(NamedTuple):
    """Calls of the last 24 hours; `duration_us` is their sum."""

    requests: int = 0
    errors: int = 0
    duration_us: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """A provider and everything known of it."""

    provider: Provider
    account: Account | None
    health: ProviderHealth | None
    traffic: Traffic

    @property
    def name(self) -> str:
        """Its name."""
        return self.provider.name

    @property
    def configured(self) -> bool:
        """Whether callers can use it without a key of their own."""
        return self.account is not None

    @property
    def base_url(self) -> str:
        """Where calls go, as the operator set it or the provider publishes it."""
        if self.account:
            return self.account.base_url
        return str(runtime().gateway.config.urls.get(self.name, self.provider.base_url))

    @property
    def circuit(self) -> Json:
        """Its breaker in this worker."""
        return circuit(runtime().gateway.attempts.breakers.get(self.name))

    @property
    def status(self) -> str:
        """The last verdict; an open circuit makes a good or unknown one `degraded`."""
        told = self.health.status if self.health else UNKNOWN
        return DEGRADED if self.circuit["state"] == "open" and told in {ACTIVE, UNKNOWN} else told

    @property
    def latency_ms(self) -> int | None:
        """How long its calls took on average."""
        return round(self.traffic.duration_us / self.traffic.requests / 1000) if self.traffic.requests else None


def find(*, configured: bool | None = None) -> list[Seen]:
    """Every provider, by name."""
    accounts: Mapping[str, Account] = runtime().gateway.config.accounts
    healths = {health.name: health for health in session().scalars(select(ProviderHealth))}
    traffic = _traffic()
    found = [
        Seen(provider, accounts.get(name), healths.get(name), traffic.get(name, Traffic()))
        for name, provider in sorted(PROVIDERS.items())
    ]
    return [seen for seen in found if configured in {None, seen.configured}]


def _traffic() -> dict[str, Traffic]:
    since = micros(now()) // HOUR_US - WINDOW_H + 1
    sums = (func.sum(UsageRollup.requests), func.sum(UsageRollup.errors), func.sum(UsageRollup.duration_us))
    rows = select(UsageRollup.provider, *sums).where(UsageRollup.hour >= since).group_by(UsageRollup.provider)
    return {name: Traffic(*map(int, counted)) for name, *counted in session().execute(rows)}


def check(name: str, engine: Engine) -> tuple[str, datetime, Verdict]:
    """Ask a provider and keep the verdict, outside any transaction; Problem 404, or 409 when it is not configured."""
    provider = provider_named(name)
    if provider is None:
        raise not_found("The provider")
    account = runtime().gateway.config.accounts.get(provider.name)
    if account is None:
        raise conflict(f"{provider.name} is not configured: {_how(provider)}")
    asked_at, verdict = now(), probe(account)
    with transaction(engine) as opened:
        opened.execute(select(Revision.number).with_for_update()).one()  # two first checks must not both insert
        before = opened.get(ProviderHealth, provider.name)
        _tell(provider.name, before.status if before else ACTIVE, verdict.status)
        opened.merge(ProviderHealth(name=provider.name, checked_at=asked_at, **_kept(verdict)))
    return provider.name, asked_at, verdict


def _tell(provider: str, before: str, after: str) -> None:
    """A first check that finds all well is no change."""
    if before != after:
        announce("provider.health_changed", {"provider": provider, "from": before, "to": after})


def _kept(verdict: Verdict) -> Json:
    return {"status": verdict.status, "latency_ms": verdict.latency_ms, "error": verdict.error}


def _how(provider: Provider) -> str:
    variable = provider.key_env or provider.url_env or f"{provider.name.upper()}_BASE_URL"
    return f"set {variable} and restart the server"


@dataclass(frozen=True, slots=True)
class Ruled:
    """A rule from a model's name to a provider; `stored` is its row when an operator made it."""

    path: str
    provider: str
    order: int
    stored: Route | None = None


def routes() -> list[Ruled]:
    """Every rule in the order they are tried: stored ones by priority, then the built-in ones."""
    stored = session().scalars(select(Route).order_by(Route.priority, Route.id)).all()
    made: list[tuple[str, str, Route | None]] = [(row.path, row.provider, row) for row in stored]
    made += [(glob, provider, None) for glob, provider in builtin_rules()]
    return [Ruled(path, provider, place, row) for place, (path, provider, row) in enumerate(made, start=1)]


def count_routes() -> int:
    """How many rules there are."""
    return (session().scalar(select(func.count(Route.id))) or 0) + len(builtin_rules())
