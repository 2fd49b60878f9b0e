"""The price table: which price a provider's model has, found the same way for every call."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import orjson

from app.gateway.prices.rows import price_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.gateway.money import Price

ANY = "*"
"""The model of a row that prices every other model of its provider."""

MAKERS = (
    "openai",
    "anthropic",
    "gemini",
    "mistral",
    "deepseek",
    "xai",
    "cohere",
    "perplexity",
    "ai21",
    "moonshot",
    "zai",
    "minimax",
    "meta",
    "inception",
    "voyage",
)
"""Providers whose list price stands in where a reseller or the user's own provider has none of its own."""

HOSTS = frozenset(
    {
        *("cerebras", "dashscope", "deepinfra", "featherless", "fireworks", "friendli", "groq", "huggingface"),
        *("hyperbolic", "nebius", "novita", "nscale", "nvidia", "replicate", "sambanova", "scaleway", "siliconflow"),
        *("together", "volcengine"),
    }
)
"""Providers that run other makers' weights at prices of their own: the maker's price would be wrong there."""

NAMES = {
    "codestral": "mistral",
    "cohere_chat": "cohere",
    "deepseek-ai": "deepseek",
    "featherless_ai": "featherless",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "friendliai": "friendli",
    "google": "gemini",
    "jina_ai": "jina",
    "meta_llama": "meta-llama",
    "mistralai": "mistral",
    "moonshotai": "moonshot",
    "nvidia_nim": "nvidia",
    "text-completion-codestral": "mistral",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "x-ai": "xai",
    "z-ai": "zai",
}
"""Other spellings of provider names, as LiteLLM has them or as they stand before the slash of a model name."""

WRAPPERS = ("accounts/fireworks/models/", "accounts/fireworks/routers/", "publishers/google/models/", "models/")

RELEASE = re.compile(
    r"(?:[-:@](?:\d{4}-\d{2}-\d{2}|\d{2}-\d{2}|\d{2}-\d{4}|\d{3,8}|latest|preview|exp|experimental|beta|stable))+"
)
"""What may follow a known name and still be that model: a date, a build number, a stage of release.

Anything else (`-mini`, `-audio`, `-128k`, `-5`, `.1`, `:free`) makes another model, whose price is not known.
"""

CUT = re.compile(r"[-:@]")
MOST_CUTS = 6
LONGEST = 300
REMEMBERED = 4096


class PriceTable:
    """Prices by provider and model. Lookups are remembered, up to a bound, since callers choose the names."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._rows = {(canonical(price.provider), bare(price.provider, price.model)): price for price in prices}
        self._found: dict[tuple[str, str], Price | None] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, provider: str, model: str) -> Price | None:
        """The price of a call, or None when it is not known: an unknown price is never taken for 0.

        The provider's own exact name decides, then its longest known name that the rest only dates (`RELEASE`), then
        its row for any model, then, unless the provider hosts others' weights, the list price of the model's maker.
        """
        try:
            return self._found[provider, model]
        except KeyError:
            return self._remember(provider, model)

    def rows(self, provider: str = "", prefix: str = "") -> list[Price]:
        """All prices, or those of one provider or of names that begin so, by provider and model."""
        wanted, start = canonical(provider), prefix.lower()
        chosen = (
            key for key, row in self._rows.items() if key[0] == (wanted or key[0]) and _begins(key[1], row, start)
        )
        return [self._rows[key] for key in sorted(chosen)]

    def with_overrides(self, rows: Iterable[Price]) -> PriceTable:
        """A table in which these rows replace or join the ones here; this one is left as it is."""
        return PriceTable([*self._rows.values(), *rows])

    def _remember(self, provider: str, model: str) -> Price | None:
        if len(provider) + len(model) > LONGEST:
            return None
        if len(self._found) >= REMEMBERED:
            self._found.clear()
        found = self._found[provider, model] = self._search(canonical(provider), model)
        return found

    def _search(self, provider: str, model: str) -> Price | None:
        name = bare(provider, model)
        own = self._first(provider, stems(name)) or self._rows.get((provider, ANY))
        return own or (None if provider in HOSTS else self._list_price(name))

    def _first(self, provider: str, names: list[str]) -> Price | None:
        return next((row for name in names if (row := self._rows.get((provider, name)))), None)

    def _list_price(self, name: str) -> Price | None:
        """The maker's price; the maker is named before the slash or is the first that has the model."""
        vendor, slash, rest = name.partition("/")
        if not slash:
            names = stems(name)
            return next((row for maker in MAKERS if (row := self._first(maker, names))), None)
        maker = canonical(vendor)
        if maker not in MAKERS:
            return None
        spelt = rest.replace(".", "-") if maker == "anthropic" else rest
        return self._first(maker, stems(bare(maker, spelt)))


def canonical(provider: str) -> str:
    """The provider's name as the table spells it."""
    lower = provider.strip().lower()
    return NAMES.get(lower, lower)


def bare(provider: str, model: str) -> str:
    """The model's name in lower case, without the provider's own name and the path some wrap it in."""
    name = model.strip().lower()
    first, slash, rest = name.partition("/")
    if slash and rest and canonical(first) == canonical(provider):
        name = rest
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def stems(name: str) -> list[str]:
    """The name, then the names of which it can be a release, longest first."""
    cuts = [found.start() for found in CUT.finditer(name)][-MOST_CUTS:]
    return [name, *(name[:at] for at in reversed(cuts) if at and RELEASE.fullmatch(name, at))]


def _begins(name: str, row: Price, start: str) -> bool:
    return name.startswith(start) or row.model.lower().startswith(start)


@cache
def builtin() -> PriceTable:
    """The table shipped with this version, read on first use."""
    shipped: dict[str, Any] = orjson.loads(files(__package__).joinpath("prices.json").read_bytes())
    return PriceTable(price_of(row, shipped) for row in shipped["models"])
