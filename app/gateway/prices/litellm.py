"""LiteLLM's price list read as rows of ours: a mapping of model names to dollars per token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.gateway.money import Price, Rates, Tier
from app.gateway.prices.rows import MODEL, PROVIDER, BadRowError, femto_of, number
from app.gateway.prices.table import canonical

MODES = {"chat": "chat", "responses": "chat", "completion": "completion", "embedding": "embedding"}
"""The modes that are priced per token, as ours. Pictures, sound, search and the like are left out."""

SOURCE = "litellm price table"

FIGURES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "reasoning": "output_cost_per_reasoning_token",
}

_ABOVE = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")


def looks_like(document: object) -> bool:
    """Whether this is such a list: a mapping of mappings, one of which at least has a price per token."""
    rows = list(document.values()) if isinstance(document, Mapping) else []
    return any(isinstance(row, Mapping) and ("litellm_provider" in row or FIGURES["input"] in row) for row in rows)


def is_priced(key: str, row: object) -> bool:
    """Whether the row states a price per token. Prices that are all 0 are none: there 0 also means unknown."""
    if not isinstance(row, Mapping):
        return True
    stated = any(not _nothing(row.get(FIGURES[name])) for name in ("input", "output"))
    return key != "sample_spec" and _mode(row) in MODES and stated


def price_of(key: str, row: object, day: str) -> Price:
    """The price under that key; BadRowError with every reason when it is none."""
    if not isinstance(row, Mapping):
        raise BadRowError(["is not a mapping of fields"])
    faults: list[str] = []
    provider, model = _name(key, row)
    if not PROVIDER.fullmatch(provider):
        faults.append("litellm_provider is missing or no name, and no provider stands before a slash of the key")
    if not MODEL.fullmatch(model):
        faults.append(f"the key does not match {MODEL.pattern}")
    base = _rates(row, "", faults)
    price = Price(
        provider=provider,
        model=model,
        base=base,
        tiers=_tiers(row, base, faults),
        mode=MODES[_mode(row)],
        context=_count(row, "max_input_tokens"),
        max_output=_count(row, "max_output_tokens"),
        source=SOURCE,
        date=day,
    )
    if faults:
        raise BadRowError(faults)
    return price


def _mode(row: Mapping[str, Any]) -> str:
    return str(row.get("mode") or "chat")


def _nothing(figure: object) -> bool:
    """Left out, or 0 however it is written."""
    try:
        return figure is None or number(figure) == 0
    except ValueError:
        return False


def _name(key: str, row: Mapping[str, Any]) -> tuple[str, str]:
    """The provider, and the model's name without the provider before it."""
    first, slash, rest = key.partition("/")
    theirs = row.get("litellm_provider") or (first if slash else "")
    provider = canonical(str(theirs))
    return provider, rest if slash and canonical(first) == provider else key


def _tiers(row: Mapping[str, Any], base: Rates, faults: list[str]) -> tuple[Tier, ...]:
    thousands = sorted(int(found[1]) for name in row if (found := _ABOVE.fullmatch(name)))
    return tuple(Tier(k * 1000, _rates(row, f"_above_{k}k_tokens", faults, base)) for k in thousands)


def _rates(row: Mapping[str, Any], suffix: str, faults: list[str], base: Rates | None = None) -> Rates:
    """The rates, a tier's with its suffix; there is no output to price in an embedding.

    A cache figure of 0 is read as none: providers list 0 for "no extra charge", and the tokens still cost their input.
    """
    found: dict[str, int | None] = {ours: _femto(row, name + suffix, faults) for ours, name in FIGURES.items()}
    found = {ours: value if value or ours in ("input", "output") else None for ours, value in found.items()}
    for ours in ("input", "output"):
        if found[ours] is None:
            found[ours] = getattr(base, ours) if base else 0
    return Rates(**found)  # type: ignore[arg-type]  # input and output were filled just above


def _femto(row: Mapping[str, Any], name: str, faults: list[str]) -> int | None:
    """Femto-dollars per token; digits past the fifteenth decimal are floating-point noise and are rounded off."""
    if row.get(name) is None:
        return None
    try:
        return femto_of(round(number(row[name]) * 10**6, 9))
    except (ValueError, ArithmeticError) as error:
        faults.append(f"{name} {error}")
        return 0


def _count(row: Mapping[str, Any], name: str) -> int | None:
    value = row.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
