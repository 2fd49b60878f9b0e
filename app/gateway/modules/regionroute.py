"""Region route: a call goes to the providers and endpoints of its caller's region, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.gateway import routing
from app.gateway.exchange import Exchange
from app.gateway.failures import NEVER_RETRY
from app.gateway.steps import Module, Steps
from app.problems import Problem

if TYPE_CHECKING:
    from app.gateway.config import Account, Config
    from app.gateway.wire import Target


@dataclass(frozen=True, slots=True)
class Site:
    """A provider of a region, and its endpoint there; empty where it has but one."""

    provider: str
    base_url: str


class Regionroute(Module):
    """The user's own region decides, then the header, then the default. A region nobody knows is refused."""

    COUNTS = ("routed", "refused")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The regions by name, each with its sites in order."""
        header, default = settings["header"].lower(), settings["default_region"]
        users = {entry["user"]: entry["region"] for entry in settings["users"]}
        regions: dict[str, tuple[Site, ...]] = {}
        for entry in settings["regions"]:
            site = Site(entry["provider"].lower(), entry["base_url"].rstrip("/"))
            name = entry["region"].lower()
            regions[name] = (*regions.get(name, ()), site)

        def request(exchange: Exchange) -> None:
            call = exchange.call
            asked = users.get(call.principal.user_id) or call.headers.get(header, "").strip() or default
            if not asked:
                return
            sites = regions.get(asked.lower())
            if sites is None:
                self.counted["refused"] += 1
                raise _outside(f"There is no region called {asked[:50]}", 400)
            self.counted["routed"] += 1
            exchange.details["regionroute"] = asked.lower()
            exchange.variant += f"regionroute={asked.lower()};"
            exchange.route = lambda x, config, personal: within(sites, x, config, personal)

        return Steps(request=request)


def within(
    sites: tuple[Site, ...], exchange: Exchange, config: Config, personal: Mapping[str, Account]
) -> list[Target]:
    """The targets in the region, the model's own provider first; Problem 403 or 503 when there is none."""
    if exchange.call.principal.secret:
        return [_with_own_key(sites, exchange, config)]
    reachable = {**config.accounts, **personal}
    wanted = exchange.wanted_provider
    if wanted and all(site.provider != wanted for site in sites):
        raise _outside(f"{wanted} is not in the caller's region", 403)
    found = [site for site in sites if _inside(site, reachable) and wanted in {"", site.provider}]
    if not found:
        message = "No provider of the caller's region is configured"
        raise Problem(503, message, code="circuit_open", details={"reason": "no_provider"}, headers=NEVER_RETRY)
    first, model = routing.primary(exchange, config, reachable)
    names = {**config.of("failover")["models"].get(exchange.model, {}), first: model}
    leading = [site for site in found if site.provider == first] or found[:1]
    others = [site for site in found if site not in leading and site.provider in names]
    chosen = [*leading, *others] if config.on("failover") and not wanted else leading[:1]
    return [
        routing.target(config, _there(reachable[site.provider], site), names.get(site.provider, exchange.model))
        for site in chosen
    ]


def _inside(site: Site, reachable: Mapping[str, Account]) -> bool:
    """Whether the site can be called; an address that a user chose may be anywhere."""
    account = reachable.get(site.provider)
    return account is not None and (site.base_url != "" or not account.guarded)


def _there(account: Account, site: Site) -> Account:
    """The account at the region's endpoint, which the operator chose."""
    return replace(account, base_url=site.base_url, guarded=False) if site.base_url else account


def _with_own_key(sites: tuple[Site, ...], exchange: Exchange, config: Config) -> Target:
    found = routing.raw(exchange, config)
    site = next((site for site in sites if site.provider == found.provider.name), None)
    if site is None:
        raise _outside(f"{found.provider.name} is not in the caller's region", 403)
    return replace(found, base_url=site.base_url or found.base_url)


def _outside(message: str, status: int) -> Problem:
    return Problem(status, message, details={"reason": "regionroute"}, headers=NEVER_RETRY)
