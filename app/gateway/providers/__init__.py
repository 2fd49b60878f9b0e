"""Every provider the gateway knows, one folder each, and the rules that lead from a model or a key to one."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.gateway.wire import Provider

DEFAULT_PROVIDER: Final = "openai"

# Keys this server or its predecessors issue look like providers' keys and must never reach one.
_OWN_KEYS: Final = ("sy_", "sk-sy-")

# Models named after the hub they come from, such as `Qwen/Qwen3-32B`: no prefix can tell these.
_HUB_PROVIDER: Final = "together"
_HUB_OWNERS: Final = ("Meta-Llama", "Qwen", "mistralai")


def _load() -> dict[str, Provider]:
    """Each folder's `PROVIDER` by name; RuntimeError when two claim a name, a model prefix or a key prefix."""
    providers: dict[str, Provider] = {}
    claims: dict[str, str] = {}
    for folder in sorted(found.name for found in iter_modules(__path__) if found.ispkg):
        provider: Provider = import_module(f"{__name__}.{folder}").PROVIDER
        claimed = [f"name {provider.name}", *(f"model {prefix}" for prefix in provider.prefixes)]
        for claim in [*claimed, *(f"key {prefix}" for prefix in provider.raw_key_prefixes)]:
            if claims.setdefault(claim, folder) != folder:
                raise RuntimeError(f"providers {claims[claim]} and {folder} both claim {claim}")
        providers[provider.name] = provider
    return providers


PROVIDERS: Final[dict[str, Provider]] = _load()
_BY_MODEL: Final = {prefix: provider.name for provider in PROVIDERS.values() for prefix in provider.prefixes}
_BY_KEY: Final = {prefix: provider.name for provider in PROVIDERS.values() for prefix in provider.raw_key_prefixes}


def provider_named(name: str) -> Provider | None:
    """The provider of that name, upper or lower case; None when there is none."""
    return PROVIDERS.get(name.lower())


@lru_cache(maxsize=4096)
def provider_for_model(model: str) -> str:
    """The name of the provider a model's name points to: the longest prefix wins, `openai` when nothing matches."""
    if found := _longest(_BY_MODEL, model):
        return found
    if "/" in model and any(owner in model for owner in _HUB_OWNERS):
        return _HUB_PROVIDER
    return DEFAULT_PROVIDER


def provider_for_key(key: str) -> str | None:
    """The name of the provider that issued a raw key, by its prefix; None for our own keys and unknown ones."""
    return None if key.startswith(_OWN_KEYS) else _longest(_BY_KEY, key)


def builtin_rules() -> list[tuple[str, str]]:
    """The rules from a model's name to a provider as globs and provider names, in the order they win; `*` is last."""
    prefixes = sorted(_BY_MODEL.items(), key=lambda rule: (-len(rule[0]), rule[0]))
    hubs = [(glob, _HUB_PROVIDER) for owner in _HUB_OWNERS for glob in (f"*{owner}*/*", f"*/*{owner}*")]
    return [*((f"{prefix}*", name) for prefix, name in prefixes), *hubs, ("*", DEFAULT_PROVIDER)]


def _longest(rules: dict[str, str], text: str) -> str | None:
    matches = [prefix for prefix in rules if text.startswith(prefix)]
    return rules[max(matches, key=len)] if matches else None
