"""One worker's places and pools: made of their modules' settings, and put beside the accounts they belong to."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from app.gateway.admission.admission import Admission
from app.gateway.admission.places import Places
from app.gateway.admission.pool import Pool
from app.gateway.config import Account
from app.gateway.modules.catalogue import parse_duration
from app.gateway.providers import PROVIDERS
from app.security.sealing import UnsealError, unseal

if TYPE_CHECKING:
    from app.gateway.config import Config
    from app.security.secrets import Secrets

log = logging.getLogger("yardmaster.keypool")
KEYPOOL, QUEUE = "keypool", "queuepriority"
# What a module's secrets are sealed for.
OWNER: Final = f"module:{KEYPOOL}"


class Admissions:
    """What is known of keys and calls under way outlives the settings."""

    def __init__(self, secrets: Secrets, workers: int = 1) -> None:
        self._secrets, self._workers = secrets, max(1, workers)
        self.pools: dict[str, Pool] = {}
        self.places: dict[str, Places] = {}

    def over(self, config: Config) -> Config:
        """The configuration with an admission beside each account that needs one, and accounts made by pools alone."""
        pools, places = self._pooled(config), self._placed(config)
        if not pools and not places:
            return config
        accounts = dict(config.accounts)
        for name, pool in pools.items():
            if (account := accounts.get(name) or _of_its_own(name, config)) is not None:
                accounts[name] = replace(account, key=pool.keys[0].secret)
        for name in accounts.keys() & {*pools, *places}:
            admission = Admission(places.get(name), pools.get(name))
            accounts[name] = replace(accounts[name], admission=admission)
        return replace(config, accounts=accounts, routed={})

    def _pooled(self, config: Config) -> Mapping[str, Pool]:
        settings = config.of(KEYPOOL)
        found: dict[str, list[tuple[str, str, int]]] = {}
        for provider, name, secret, weight in self._keys(settings) if config.on(KEYPOOL) else ():
            found.setdefault(provider, []).append((name, secret, weight))
        for name, keys in found.items():
            pool = self.pools.setdefault(name, Pool(name))
            pool.configure(keys, settings["strategy"], parse_duration(settings["cooldown"]))
        self.pools = {name: self.pools[name] for name in found}
        return self.pools

    def _keys(self, settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str, int]]:
        """Provider, name, secret and weight of each key that is in use and can be opened."""
        for key in settings["keys"]:
            if not key["weight"]:
                continue
            try:
                secret = unseal(key["key"], OWNER, self._secrets)
            except UnsealError as error:
                log.error("the key %r of the pool stays shut: %s", key["name"], error)  # noqa: TRY400 (no traceback)
                continue
            yield key["provider"].lower(), key["name"], secret, key["weight"]

    def _placed(self, config: Config) -> Mapping[str, Places]:
        settings = config.of(QUEUE)
        limits = {limit["provider"].lower(): limit["at_once"] for limit in settings["limits"] if config.on(QUEUE)}
        for name, at_once in limits.items():
            places = self.places.setdefault(name, Places(name))
            # Workers do not count each other's calls: each has its share, and at least one place.
            places.configure(max(1, at_once // self._workers), settings, parse_duration(settings["max_wait"]))
        self.places = {name: self.places[name] for name in limits}
        return self.places


def _of_its_own(name: str, config: Config) -> Account | None:
    """The account of a provider that has no key but its pool's."""
    provider = PROVIDERS.get(name)
    if provider is None or not (url := config.urls.get(name) or provider.base_url):
        log.error("the pool has keys of %s, whose address is not known", name[:64])
        return None
    return Account(provider, url)
