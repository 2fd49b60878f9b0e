"""Money: integer nano-dollars inside, decimal dollars at the edge, and what a model call costs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from app.gateway.wire import Usage

NANO = 1_000_000_000
"""Nano-dollars in a dollar: the unit of every stored amount."""

FEMTO = 1_000_000
"""Femto-dollars (1e-15 USD) in a nano-dollar. Prices are femto-dollars per token: 1 USD per 1M is 1_000_000_000."""

LARGEST = 2**63 - 1
"""The largest amount a signed 64-bit column holds, about 9.2 billion dollars."""

MOST_DIGITS = 400
"""More digits or a larger exponent than any float has: a number meant to burn time, not an amount."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Femto-dollars per token. None means that the provider publishes no such figure, never that it is free.

    Without its own figure a cached read costs the input price, a cache write the input price, a one-hour cache write
    the plain cache write, and reasoning the output price.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None

    def charge(self, usage: Usage) -> int:
        """Femto-dollars for these tokens; a negative count, which no provider can mean, counts as none."""
        write = self.input if self.cache_write is None else self.cache_write
        return (
            max(usage.input, 0) * self.input
            + max(usage.output, 0) * self.output
            + max(usage.cache_read, 0) * (self.input if self.cache_read is None else self.cache_read)
            + max(usage.cache_write, 0) * write
            + max(usage.cache_write_1h, 0) * (write if self.cache_write_1h is None else self.cache_write_1h)
            + max(usage.reasoning, 0) * (self.output if self.reasoning is None else self.reasoning)
        )


class Tier(NamedTuple):
    """The rates of a whole call whose input tokens, cached ones included, are more than `above`."""

    above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs at one provider. `tiers` ascend by `above`; `date` (ISO) is when `source` was read."""

    provider: str
    model: str
    base: Rates
    tiers: tuple[Tier, ...] = ()
    mode: str = "chat"
    context: int | None = None
    max_output: int | None = None
    source: str = ""
    date: str = ""

    def rates(self, tokens_in: int) -> Rates:
        """The rates of a call with that many input tokens."""
        found = self.base
        for tier in self.tiers:
            if tokens_in <= tier.above:
                break
            found = tier.rates
        return found


def cost(usage: Usage, price: Price) -> int:
    """Nano-dollars for one call, streamed or not, rounded once, half up. Never negative."""
    femto = price.rates(usage.tokens_in).charge(usage)
    return (femto + FEMTO // 2) // FEMTO


def dollars(nano: int) -> Decimal:
    """The exact amount in dollars."""
    return Decimal(nano).scaleb(-9)


def usd(nano: int) -> float:
    """The amount in dollars as a JSON number; up to 8 million dollars it names one nano-dollar amount only."""
    return nano / NANO


def usd_text(nano: int, places: int = 6) -> str:
    """The amount in dollars with a fixed number of decimals (at most 9), rounded half up, never in exponent form."""
    step = 10 ** (9 - places)
    sign, units = ("-" if nano < 0 else ""), (abs(nano) + step // 2) // step
    whole, rest = divmod(units, 10**places)
    return f"{sign}{whole}.{rest:0{places}d}" if places else f"{sign}{whole}"


def nano_from_usd(amount: str | Decimal | float) -> int:
    """Nano-dollars of an amount in dollars.

    Text, integers and decimals must fit exactly. A float is read by its shortest decimal form and rounded to a
    nano-dollar, for 0.1 + 0.2 is a common way to write 0.3. ValueError when it is no amount, too fine or too large.
    """
    nano = Fraction(_decimal(amount)) * NANO
    if abs(nano) > LARGEST:
        raise ValueError(f"{amount} dollars are more than can be kept")
    if nano.denominator != 1 and not isinstance(amount, float):
        raise ValueError(f"{amount} dollars are finer than a nano-dollar")
    return round(nano)


def _decimal(amount: str | Decimal | float) -> Decimal:
    """A finite decimal of bearable length; ValueError otherwise."""
    if isinstance(amount, bool):
        raise ValueError("an amount in dollars is a number")  # noqa: TRY004 - callers catch one kind of error
    try:
        exact = Decimal(repr(amount) if isinstance(amount, float) else amount)
    except (InvalidOperation, TypeError) as error:
        raise ValueError("not an amount in dollars") from error
    _, digits, exponent = exact.as_tuple()
    if isinstance(exponent, str) or max(len(digits), abs(exponent)) > MOST_DIGITS:
        raise ValueError("not an amount in dollars that can be kept")
    return exact
