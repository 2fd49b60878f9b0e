"""Tenant wall: what each tenant may ask for, how often, and for how much money, in windows all workers share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from app.gateway.counts import Counts
from app.gateway.exchange import Exchange
from app.gateway.modules import purse
from app.gateway.modules.accounts import account_of
from app.gateway.modules.catalogue import parse_duration
from app.gateway.modules.purse import Purse, refusal
from app.gateway.steps import Module, Offer, Place, Steps
from app.problems import Problem
from app.services.spending.user_caps import cap_nano

NAME = "tenantwall"
WANTED = "x-tenant-id"
EVERYTHING = ("*",)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's limits; 0 is none. `spend` is nano-dollars. `named` is false for who is nobody's tenant."""

    id: str
    requests: int
    spend: int
    models: tuple[str, ...]
    named: bool = True

    def may_ask(self, exchange: Exchange) -> bool:
        """Whether the model, by the name it was asked for or the one that stands for, is among the tenant's."""
        return self.models == EVERYTHING or any(
            fnmatchcase(name, glob) for glob in self.models for name in (exchange.asked, exchange.model)
        )


class Tenants:
    """Who a call's tenant is. The operator's word comes first, then a header where it is believed, then the project.

    A project that is not listed is no tenant: callers invent projects, and each would have limits of its own.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._trusted, self._by_project = settings["trust_header"], settings["use_project_as_tenant"]
        listed = settings["tenants"]
        self._known = {
            t["id"]: _tenant(t["id"], t["max_requests"], t["max_spend"], t["allowed_models"]) for t in listed
        }
        self._users = {
            int(user): self._known[t["id"]] for t in reversed(listed) for user in t["users"] if user == int(user)
        }
        defaults = (settings[f"default_{name}"] for name in ("max_requests", "max_spend", "allowed_models"))
        self._others = _tenant("", *defaults)

    def of(self, exchange: Exchange) -> Tenant:
        """The tenant; who is in none is held to the defaults by their account."""
        principal = exchange.call.principal
        if principal.user_id is not None and (found := self._users.get(principal.user_id)):
            return found
        name = exchange.call.headers.get(WANTED, "").strip()
        if name and (self._trusted == "always" or (self._trusted == "admin" and principal.is_admin)):
            return self._known.get(name) or self._default(f"tenant:{name}", named=True)
        found = self._known.get(exchange.project) if self._by_project else None
        return found or self._default(account_of(exchange), named=False)

    def _default(self, id_: str, *, named: bool) -> Tenant:
        others = self._others
        return Tenant(id_, others.requests, others.spend, others.models, named)


def _tenant(id_: str, requests: int, spend: float, models: Sequence[str]) -> Tenant:
    return Tenant(id_ and f"tenant:{id_}", requests, cap_nano(spend), tuple(models))


class Tenantwall(Module):
    """Windows begin at whole multiples of their length, so that every worker means the same one."""

    COUNTS = ("admitted", "unnamed", "model", "requests", "spend")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._clock = clock

    def settle_in(self, place: Place) -> None:
        """It counts where all workers do."""
        self._counts: Counts = place.counts

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Who, which model and how often ahead of everything; how much once the targets are known."""
        tenants, needed = Tenants(settings), settings["require_tenant"]
        window, unpriced = max(1, math.ceil(parse_duration(settings["window"]))), settings["unpriced"]

        async def request(exchange: Exchange) -> None:
            tenant = tenants.of(exchange)
            self._check(exchange, tenant, needed=needed)
            await self._count(tenant, window)
            exchange.keep(f"{NAME}.tenant", tenant)
            self.counted["admitted"] += 1

        async def hold(exchange: Exchange, offer: Offer) -> Offer:
            tenant = exchange.taken(f"{NAME}.tenant")
            if not isinstance(tenant, Tenant) or not tenant.spend:
                return offer
            try:
                held = self._purse(tenant, window)
                return await purse.hold(self._counts, exchange, held, offer, reason=NAME, unpriced=unpriced)
            except Problem:
                self.counted["spend"] += 1
                raise

        def settled(exchange: Exchange) -> None:
            purse.settle(self._counts, exchange, NAME)

        return Steps(request=request, hold=hold, settled=settled, binding=True)

    def _check(self, exchange: Exchange, tenant: Tenant, *, needed: bool) -> None:
        """Problem 403 for who is in no tenant where one is needed, and for a model that is not the tenant's."""
        if needed and not tenant.named:
            self.counted["unnamed"] += 1
            raise Problem(403, "This call is no tenant's", details={"reason": NAME, "param": "X-Tenant-ID"})
        if not tenant.may_ask(exchange):
            self.counted["model"] += 1
            details = {"reason": NAME, "param": "model"}
            raise Problem(403, f"This tenant may not ask for {exchange.asked[:100]}", details=details)
        if tenant.named:
            exchange.details["tenant"] = tenant.id.removeprefix("tenant:")[:200]

    async def _count(self, tenant: Tenant, window: int) -> None:
        """Count the call; Problem 429 when there were enough."""
        if not tenant.requests:
            return
        key, ends_at = self._window(tenant, window)
        calls, _ = await self._counts.add(f"{key}:calls", window * 2)
        if calls > tenant.requests:
            self.counted["requests"] += 1
            details = {"reason": NAME, "limit": "requests", "cap": tenant.requests}
            raise refusal("This tenant has made all the calls of its window", details, ends_at)

    def _purse(self, tenant: Tenant, window: int) -> Purse:
        key, ends_at = self._window(tenant, window)
        return Purse(f"{key}:spend", window * 2, tenant.spend, "tenant", ends_at)

    def _window(self, tenant: Tenant, window: int) -> tuple[str, float]:
        """The key of the window that runs, and when it ends (epoch seconds)."""
        number = int(self._clock()) // window
        return f"{NAME}:{tenant.id}:{window}:{number}", float((number + 1) * window)
