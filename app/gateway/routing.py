"""Where a call may go: the provider it belongs to, then the ones that may stand in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from app.gateway.config import SANDBOX, Account, Config
from app.gateway.exchange import Exchange
from app.gateway.providers import PROVIDERS, provider_for_model
from app.gateway.wire import Provider, Target
from app.problems import Problem

NEVER_RETRY = {"x-should-retry": "false"}
MOST_ROUTED = 1_000


def targets(exchange: Exchange, config: Config, personal: Mapping[str, Account]) -> list[Target]:
    """The targets in order of preference, at least one; Problem 400 or 503 when nothing can serve the model."""
    principal = exchange.call.principal
    if principal.secret:
        return [raw(exchange, config)]
    if personal:
        return _chosen(exchange, config, {**config.accounts, **personal})
    key = exchange.model, exchange.wanted_provider
    found = config.routed.get(key)
    if found is None:
        found = _chosen(exchange, config, config.accounts)
        if len(config.routed) >= MOST_ROUTED:  # callers invent model names
            config.routed.clear()
        config.routed[key] = found
    return found


def _chosen(exchange: Exchange, config: Config, reachable: Mapping[str, Account]) -> list[Target]:
    first, model = primary(exchange, config, reachable)
    if first not in reachable:
        raise _no_provider(first, exchange.model, reachable)
    found = [target(config, reachable[first], model)]
    if config.on("failover") and not exchange.wanted_provider and first != SANDBOX:
        found += _standins(exchange, config, reachable, first)
    return found + _smaller(exchange, config, reachable, first)


def _smaller(exchange: Exchange, config: Config, reachable: Mapping[str, Account], first: str) -> list[Target]:
    """The model that stands in when the one asked for keeps failing, at its own provider or at the one wanted."""
    model = config.downgrades.get(exchange.model)
    if model is None:
        return []
    held = exchange.wanted_provider or reachable.keys() == {SANDBOX}
    name = first if held else provider_for_model(model)
    return [replace(target(config, reachable[name], model), smaller=True)] if name in reachable else []


def target(config: Config, account: Account, model: str) -> Target:
    """The account, asked for a model."""
    provider = _patient(config, account.provider)
    return Target(provider, account.base_url, model, account.key, account.guarded, account.admission)


def _patient(config: Config, provider: Provider) -> Provider:
    """The provider, with the operator's timeout where there is one."""
    timeout = config.timeouts.get(provider.name)
    return replace(provider, timeout=timeout) if timeout else provider


def raw(exchange: Exchange, config: Config) -> Target:
    """A caller's own provider key goes to that provider only, for this call only."""
    principal = exchange.call.principal
    provider = _patient(config, PROVIDERS[principal.provider])
    return Target(provider, config.urls.get(provider.name, provider.base_url), exchange.model, principal.secret)


def primary(exchange: Exchange, config: Config, reachable: Mapping[str, Account]) -> tuple[str, str]:
    """The provider the call belongs to and the model to ask it for: header, alias, route, then the model's name."""
    if wanted := exchange.wanted_provider:
        if wanted not in PROVIDERS and wanted not in reachable:
            raise Problem(404, f"There is no provider called {wanted}", details={"param": "X-Provider"})
        return wanted, exchange.model
    for rule in config.rules:
        if rule.pattern.match(exchange.model):
            return rule.provider, rule.model or exchange.model
    named, slash, rest = exchange.model.partition("/")
    if slash and named in reachable and provider_for_model(exchange.model) != named:
        return named, rest
    natural = provider_for_model(exchange.model)
    alone = reachable.keys() == {SANDBOX}
    return (SANDBOX if alone else natural), exchange.model


def _standins(exchange: Exchange, config: Config, reachable: Mapping[str, Account], first: str) -> Iterator[Target]:
    """Other providers in the configured order that serve the model, under the name the settings give it there."""
    settings = config.of("failover")
    names = settings["models"].get(exchange.model, {})
    for name in settings["providers"] or reachable:
        if name in {first, SANDBOX} or name not in reachable:
            continue
        if name in names or provider_for_model(exchange.model) == name:
            yield target(config, reachable[name], names.get(name, exchange.model))


def _no_provider(name: str, model: str, reachable: Mapping[str, Account]) -> Problem:
    provider = PROVIDERS.get(name)
    how = f"set {provider.key_env}" if provider and provider.key_env else f"set {name.upper()}_BASE_URL"
    known = ", ".join(sorted(reachable))
    return Problem(
        503,
        f"No provider is configured for {model[:100]}: it belongs to {name}; {how}, or use one of: {known}",
        code="circuit_open",
        details={"reason": "no_provider"},
        headers=NEVER_RETRY,
    )
