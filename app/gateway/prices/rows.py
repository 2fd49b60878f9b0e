"""A price as a row of a file: decimal US dollars per 1M tokens, checked field by field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from app.gateway.money import NANO, Price, Rates, Tier

RATES = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")
MODES = ("chat", "completion", "embedding")
FIELDS = ("provider", "model", *RATES, "tiers", "mode", "context", "max_output", "source", "date")
MOST = Decimal(100_000)
LEAST = Decimal("0.001")
MOST_TOKENS = 10**9
ABSENT = (None, "", "null", "~")

PROVIDER = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
MODEL = re.compile(r"[\x21-\x7e]{1,200}")


class BadRowError(Exception):
    """A row that is no price; `reasons` says everything wrong with it."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def per_million(femto: int) -> str:
    """A price in US dollars per 1M tokens, exactly, as short as it can be written."""
    text = f"{Decimal(femto) / NANO:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def number(value: object) -> Decimal:
    """A finite, non-negative decimal; ValueError says what it is instead."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise ValueError("is not a number")  # noqa: TRY004 - one kind of error per row
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise ValueError("is not a number") from None
    if not found.is_finite():
        raise ValueError("is not a finite number")
    if found < 0:
        raise ValueError("is negative")
    return found


def femto_of(value: object) -> int:
    """Femto-dollars per token from US dollars per 1M tokens; ValueError when it is no plausible price."""
    dollars = number(value)
    if dollars > MOST:
        raise ValueError(f"is above {MOST} USD per 1M tokens")
    if 0 < dollars < LEAST:
        raise ValueError(f"is below {LEAST} USD per 1M tokens: prices are per 1M tokens, not per token")
    femto = dollars * NANO
    if femto != femto.to_integral_value():
        raise ValueError("has more than 9 decimals")
    return int(femto)


def price_of(row: object, defaults: Mapping[str, str]) -> Price:
    """The price a row states; BadRowError with every reason when it states none."""
    if not isinstance(row, Mapping):
        raise BadRowError(["is not a mapping of fields"])
    reader = _Reader(row)
    reader.only(FIELDS)
    mode = reader.choice("mode", MODES)
    base = reader.rates(None, Rates(0, 0) if mode == "embedding" else None)
    price = Price(
        provider=reader.match("provider", PROVIDER),
        model=reader.match("model", MODEL),
        base=base,
        tiers=reader.tiers(base),
        mode=mode,
        context=reader.count("context"),
        max_output=reader.count("max_output"),
        source=reader.line("source", defaults.get("source", "")),
        date=reader.day("date", defaults.get("date", "")),
    )
    if reader.faults:
        raise BadRowError(reader.faults)
    return price


def row_of(price: Price) -> dict[str, Any]:
    """The row that states this price, absent fields left out; `price_of` reads it back unchanged."""
    row: dict[str, Any] = {"provider": price.provider, "model": price.model, **_rates_row(price.base)}
    row["tiers"] = [{"above": tier.above, **_rates_row(tier.rates)} for tier in price.tiers]
    row |= {name: getattr(price, name) for name in ("mode", "context", "max_output", "source", "date")}
    return {name: value for name, value in row.items() if value not in (None, "", [])}


def _rates_row(rates: Rates) -> dict[str, str]:
    stated = {name: getattr(rates, name) for name in RATES}
    return {name: per_million(value) for name, value in stated.items() if value is not None}


class _Reader:
    """Reads the fields of one row and gathers what is wrong with them."""

    def __init__(self, row: Mapping[str, Any], where: str = "") -> None:
        self.row = row
        self.where = where
        self.faults: list[str] = []

    def fault(self, name: str, reason: str) -> None:
        self.faults.append(f"{self.where}{name} {reason}")

    def get(self, name: str) -> Any:
        """The value, or None when it is left out or written as nothing."""
        value = self.row.get(name)
        return None if isinstance(value, (str, type(None))) and value in ABSENT else value

    def only(self, names: tuple[str, ...]) -> None:
        """A misspelt field must not pass for an absent one."""
        for name in self.row:
            if name not in names:
                self.fault(str(name)[:40], f"is no field; the fields are {', '.join(names)}")

    def rate(self, name: str) -> int | None:
        value = self.get(name)
        try:
            return None if value is None else femto_of(value)
        except ValueError as error:
            self.fault(name, str(error))
            return 0

    def rates(self, tier_of: Rates | None, floor: Rates | None) -> Rates:
        """The rates of the row; a tier takes input and output it does not state from the base."""
        stated = {name: self.rate(name) for name in RATES}
        for name in ("input", "output"):
            default = tier_of or (floor if name == "output" else None)
            if stated[name] is None and default is None:
                self.fault(name, "is missing")
            if stated[name] is None:
                stated[name] = getattr(default or Rates(0, 0), name)
        return Rates(**stated)  # type: ignore[arg-type]  # input and output were filled just above

    def tiers(self, base: Rates) -> tuple[Tier, ...]:
        """The tiers in ascending order; two with one threshold would make the price a matter of luck."""
        value = self.get("tiers")
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            self.fault("tiers", "is not a list of mappings")
            return ()
        found = sorted((self._tier(item, index, base) for index, item in enumerate(value)), key=lambda tier: tier.above)
        if len({tier.above for tier in found}) < len(found):
            self.fault("tiers", "has one threshold twice")
        return tuple(found)

    def _tier(self, item: Mapping[str, Any], index: int, base: Rates) -> Tier:
        inner = _Reader(item, f"tiers[{index}].")
        inner.only(("above", *RATES))
        above = inner.count("above")
        if above is None:
            inner.fault("above", "is missing")
        rates = inner.rates(base, None)
        self.faults += inner.faults
        return Tier(above or 0, rates)

    def count(self, name: str) -> int | None:
        value = self.get(name)
        if value is None:
            return None
        try:
            found = number(value)
        except ValueError as error:
            self.fault(name, str(error))
            return None
        if not 0 < found <= MOST_TOKENS or found != int(found):
            self.fault(name, f"is not a whole number from 1 to {MOST_TOKENS}")
            return None
        return int(found)

    def match(self, name: str, pattern: re.Pattern[str]) -> str:
        value = self.get(name)
        if value is None:
            self.fault(name, "is missing")
        elif not isinstance(value, str) or not pattern.fullmatch(value):
            self.fault(name, f"does not match {pattern.pattern}")
        else:
            return value
        return ""

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.get(name) or choices[0]
        if value not in choices:
            self.fault(name, f"is none of {', '.join(choices)}")
            return choices[0]
        return str(value)

    def line(self, name: str, default: str) -> str:
        value = self.get(name) or default
        if not isinstance(value, str) or len(value) > 200 or not value.isprintable():  # noqa: PLR2004 - said below
            self.fault(name, "is not one line of at most 200 characters")
            return ""
        return value

    def day(self, name: str, default: str) -> str:
        value = self.get(name) or default
        try:
            return value and date.fromisoformat(value).isoformat()
        except (TypeError, ValueError):
            self.fault(name, "is not a date such as 2026-11-21")
            return ""
