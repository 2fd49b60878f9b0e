"""The gateway's configuration in force: one immutable snapshot, replaced whole when something changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from re import Pattern
from re import compile as compile_pattern
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, select

from app.gateway.modules.catalogue import CATALOGUE, complete_config, defaults
from app.gateway.providers import PROVIDERS
from app.gateway.wire import Provider, Target
from app.settings import SettingsError
from models.base import transaction
from models.gateway import ModuleState, Route

if TYPE_CHECKING:
    from app.gateway.admission.admission import Admission

SANDBOX = "sandbox"
LONGEST_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Module:
    """A module as it is set now: its toggle and its complete settings."""

    name: str
    enabled: bool
    priority: int
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    """A provider this server can call: its address and key. `guarded`: a user chose the address, not the operator.

    `admission` is what a call with this account must have before it goes out, if anything.
    """

    provider: Provider
    base_url: str
    key: str = field(default="", repr=False)
    guarded: bool = False
    admission: Admission | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """A stored route: model names that match go to the provider, as `model` when that is set."""

    pattern: Pattern[str]
    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a request consults.

    `stamp` is a hash of it for cache keys, with the cache's `epoch`.
    """

    modules: Mapping[str, Module]
    rules: tuple[Rule, ...]
    accounts: Mapping[str, Account]
    aliases: Mapping[str, tuple[str, str]]
    urls: Mapping[str, str]
    timeouts: Mapping[str, float] = field(default_factory=dict)
    epoch: int = 0
    stamp: str = ""
    # The smaller model to ask when one keeps failing.
    downgrades: Mapping[str, str] = field(default_factory=dict)
    # Targets worked out under these settings, by model and wanted provider, for callers without providers of their own.
    routed: dict[tuple[str, str], list[Target]] = field(default_factory=dict, repr=False, compare=False)

    def on(self, name: str) -> bool:
        """Whether a module is enabled."""
        return self.modules[name].enabled

    def meant(self, model: str) -> tuple[str, str]:
        """The model and the provider that a name stands for; the name and any provider where it is no alias."""
        alias = self.aliases.get(model) if self.on("modelalias") else None
        return alias or (model, "")

    def of(self, name: str) -> Mapping[str, Any]:
        """A module's settings."""
        return self.modules[name].config


def accounts(environ: Mapping[str, str] = os.environ) -> dict[str, Account]:
    """The providers switched on by the environment; only the sandbox when there is none.

    A provider is on when its key is set, or, where it needs none, when its address is.
    """
    found = {name: account for name, p in PROVIDERS.items() if (account := _account(p, environ))}
    return {SANDBOX: Account(PROVIDERS[SANDBOX], PROVIDERS[SANDBOX].base_url)} | found


def url_variable(provider: Provider) -> str:
    """The environment variable that overrides a provider's address."""
    return provider.url_env or f"{provider.name.upper()}_BASE_URL"


def addresses(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The provider addresses the operator set, with or without a key: a caller's own key goes there too."""
    return {n: url.rstrip("/") for n, p in PROVIDERS.items() if (url := environ.get(url_variable(p), ""))}


def timeouts(environ: Mapping[str, str] = os.environ) -> dict[str, float]:
    """Seconds the operator gives a provider for a whole answer, or a stream's first chunk, by `<PROVIDER>_TIMEOUT`."""
    variables = {name: f"{name.upper()}_TIMEOUT" for name in PROVIDERS}
    return {
        name: _seconds(variable, environ[variable]) for name, variable in variables.items() if environ.get(variable)
    }


def _seconds(variable: str, text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= LONGEST_TIMEOUT_S:
        raise SettingsError(f"{variable} must be a number of seconds, at most {LONGEST_TIMEOUT_S:g}")
    return found


def _account(provider: Provider, environ: Mapping[str, str]) -> Account | None:
    key = environ.get(provider.key_env, "") if provider.key_env else ""
    url = environ.get(url_variable(provider), "")
    if not (key if provider.key_env else url):
        return None
    return Account(provider, (url or provider.base_url).rstrip("/"), key)


def load(engine: Engine, known: Mapping[str, Account]) -> Config:
    """The stored settings over the catalogue's defaults."""
    with transaction(engine, write=False) as session:
        states = {state.name: state for state in session.scalars(select(ModuleState))}
        routes = session.scalars(select(Route).where(Route.enabled).order_by(Route.priority, Route.id)).all()
    modules = {name: _module(name, states.get(name)) for name in CATALOGUE}
    aliases = {a["alias"]: (a["model"], a.get("provider", "")) for a in modules["modelalias"].config["aliases"]}
    rules = tuple(Rule(compile_pattern(translate(r.path)), r.provider, r.model) for r in routes)
    retries = modules["retrypilot"]
    downgrades = retries.config["downgrade"] if retries.enabled else {}
    return Config(modules, rules, known, aliases, addresses(), timeouts(), downgrades=downgrades)


def _module(name: str, state: ModuleState | None) -> Module:
    entry = CATALOGUE[name]
    if state is None:
        return Module(name, entry.enabled, entry.priority, defaults(name))
    enabled = entry.implemented and (state.enabled or entry.required)
    return Module(name, enabled, state.priority, complete_config(name, state.config))
