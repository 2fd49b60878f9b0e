"""What the money arithmetic promises: exact, never negative, rounded once, a stream like a plain call."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.money import FEMTO, LARGEST, NANO, Price, Rates, Tier, cost, dollars, nano_from_usd, usd, usd_text
from app.gateway.wire import Usage

MILLION = 1_000_000
COUNTS = tuple(part.name for part in fields(Usage) if part.name != "reported")
PARTS = ("cache_read", "cache_write", "cache_write_1h", "reasoning")

tokens = st.integers(0, 2_000_000)
femto = st.integers(0, 700 * NANO)
usages = st.builds(Usage, **dict.fromkeys(COUNTS, tokens))
rates = st.builds(Rates, femto, femto, **dict.fromkeys(PARTS, st.none() | femto))
prices = st.builds(Price, st.just("p"), st.just("m"), rates)


def per_million(text: str) -> int:
    """Femto-dollars per token of a price in dollars per 1M tokens."""
    return int(Decimal(text) * NANO)


def counted(part: str) -> Usage:
    """One token of one part."""
    return Usage(**{name: int(name == part) for name in COUNTS})  # type: ignore[arg-type]  # reported is no count


def added(one: Usage, other: Usage) -> Usage:
    """The tokens of two calls as if they had been one."""
    return Usage(**{name: getattr(one, name) + getattr(other, name) for name in COUNTS})


def dearer(base: Rates, by: int) -> Rates:
    """Rates of which none is below the base's, as the tiers of real price lists are."""
    stated = {part: getattr(base, part) for part in PARTS}
    raised = {part: None if value is None else value + by for part, value in stated.items()}
    return Rates(base.input + by, base.output + by, **raised)


def test_a_million_tokens_cost_their_listed_price() -> None:
    """The figure on the provider's page is the figure on the bill, down to the smallest listed one."""
    for listed, nano in (("2.5", 2_500_000_000), ("0.0375", 37_500_000), ("0.00115", 1_150_000)):
        assert cost(Usage(input=MILLION), Price("p", "m", Rates(per_million(listed), 0))) == nano


def test_a_call_costs_the_sum_of_its_parts_at_their_own_prices() -> None:
    """Cached tokens charged twice, or not at all, are the commonest complaint about gateways."""
    base = Rates(*(per_million(text) for text in ("3", "15", "0.3", "3.75", "6", "7.5")))
    usage = Usage(input=1000, output=100, cache_read=10_000, cache_write=2000, cache_write_1h=500, reasoning=40)
    assert cost(usage, Price("p", "m", base)) == 3_000_000 + 1_500_000 + 3_000_000 + 7_500_000 + 3_000_000 + 300_000


def test_a_part_without_a_price_of_its_own_is_never_free() -> None:
    """Cached input falls back to the input price, one-hour writes to plain writes, reasoning to the output price."""
    bare = Price("p", "m", Rates(3 * FEMTO, 5 * FEMTO))
    assert [cost(counted(part), bare) for part in PARTS] == [3, 3, 3, 5]
    written = Price("p", "m", Rates(3 * FEMTO, 5 * FEMTO, cache_write=4 * FEMTO))
    assert cost(Usage(cache_write_1h=1), written) == 4


def test_an_explicit_zero_is_kept() -> None:
    """A price of 0 that somebody states is a price; only a missing one falls back."""
    assert cost(Usage(cache_read=MILLION), Price("p", "m", Rates(NANO, NANO, cache_read=0))) == 0


@pytest.mark.parametrize(("femto_per_token", "nano"), [(499_999, 0), (500_000, 1), (1_499_999, 1), (1_500_000, 2)])
def test_a_cost_is_rounded_half_up(femto_per_token: int, nano: int) -> None:
    """Half a nano-dollar counts as one: rounding never favours free calls."""
    assert cost(Usage(input=1), Price("p", "m", Rates(femto_per_token, 0))) == nano


def test_a_cost_is_rounded_once() -> None:
    """Rounding each part would turn two halves into two wholes."""
    assert cost(Usage(input=1, output=1), Price("p", "m", Rates(500_000, 500_000))) == 1


def test_a_tier_prices_the_whole_call_above_its_threshold() -> None:
    """All input tokens count towards the threshold, cached ones included, and the last token below it costs less."""
    tier = Tier(200_000, Rates(per_million("2.5"), per_million("15")))
    price = Price("p", "m", Rates(per_million("1.25"), per_million("10")), (tier,))
    assert cost(Usage(input=200_000, output=1000), price) == 250_000_000 + 10_000_000
    assert cost(Usage(input=150_000, cache_read=50_001, output=1000), price) == 500_002_500 + 15_000_000


def test_the_highest_tier_that_is_exceeded_decides() -> None:
    """With several tiers a call is charged at one of them, never at a mixture."""
    steps = tuple(Tier(above, Rates(n * FEMTO, 0)) for n, above in enumerate((10, 20, 30), start=2))
    price = Price("p", "m", Rates(FEMTO, 0), steps)
    assert [price.rates(count).input // FEMTO for count in (0, 10, 11, 20, 21, 30, 31)] == [1, 1, 2, 2, 3, 3, 4]


def test_a_negative_count_never_earns_money() -> None:
    """A provider's nonsense must not lower a bill."""
    price = Price("p", "m", Rates(FEMTO, FEMTO))
    assert cost(Usage(input=-5, output=3, cache_read=-7), price) == 3


@given(usages, prices)
def test_a_stream_and_a_plain_call_cost_the_same(usage: Usage, price: Price) -> None:
    """Only tokens decide: whether they were reported or counted here changes nothing."""
    assert cost(replace(usage, reported=False), price) == cost(replace(usage, reported=True), price) >= 0


@given(usages, usages, prices)
def test_splitting_a_call_shifts_its_cost_by_a_rounding_at_most(one: Usage, other: Usage, price: Price) -> None:
    """Sums of costs stay within a nano-dollar of the cost of the sum, so rollups agree with their rows."""
    assert abs(cost(one, price) + cost(other, price) - cost(added(one, other), price)) <= 1


@given(usages, rates, st.sampled_from(COUNTS), tokens, st.integers(0, NANO), st.integers(0, MILLION))
def test_more_tokens_never_cost_less(usage: Usage, base: Rates, part: str, more: int, by: int, above: int) -> None:
    """Holds across a tier's threshold too, so a worst case reserved by token count covers the call."""
    price = Price("p", "m", base, (Tier(above, dearer(base, by)),))
    assert cost(replace(usage, **{part: getattr(usage, part) + more}), price) >= cost(usage, price)


@given(usages, prices, st.permutations(COUNTS))
def test_the_order_in_which_parts_arrive_does_not_matter(usage: Usage, price: Price, order: list[str]) -> None:
    """Providers report input first, output last, or all at the end."""
    gathered = Usage()
    for part in order:
        gathered = replace(gathered, **{part: getattr(usage, part)})
    assert cost(gathered, price) == cost(usage, price)


@given(st.integers(-LARGEST, LARGEST))
def test_an_amount_survives_the_way_out_and_back(nano: int) -> None:
    """As decimal and as text nothing is lost at any size."""
    assert nano_from_usd(dollars(nano)) == nano
    assert nano_from_usd(usd_text(nano, 9)) == nano


@given(st.integers(-8_000_000 * NANO, 8_000_000 * NANO))
def test_an_amount_survives_as_a_json_number(nano: int) -> None:
    """Up to eight million dollars a float names one nano-dollar amount only."""
    assert nano_from_usd(usd(nano)) == nano


def test_amounts_in_dollars_are_read_exactly() -> None:
    """A cap of 0.1 is a tenth of a dollar, not the nearest binary fraction."""
    pairs: list[tuple[str | float | Decimal, int]] = [
        ("0.1", 100_000_000),
        (0.1, 100_000_000),
        (3, 3 * NANO),
        (Decimal("1e-9"), 1),
        ("-2.50", -2_500_000_000),
    ]
    assert [nano_from_usd(amount) for amount, _ in pairs] == [nano for _, nano in pairs]
    assert nano_from_usd(0.1 + 0.2) == 300_000_000


@pytest.mark.parametrize(
    "amount",
    ["", "ten", "nan", "-inf", float("nan"), float("inf"), True, None, "1e-10", "0." + "0" * 9 + "1", "1e11", 1e300],
)
def test_what_is_no_amount_is_refused(amount: Any) -> None:
    """A cap that cannot be kept as written must not be kept as something else."""
    with pytest.raises(ValueError, match=r"dollars"):
        nano_from_usd(amount)


@pytest.mark.parametrize("amount", ["1e999999", "1e-999999999", "9" * 100_000])
def test_a_number_meant_to_burn_time_is_refused_at_once(amount: str) -> None:
    """Exact arithmetic on a million digits would stop the server."""
    with pytest.raises(ValueError, match="can be kept"):
        nano_from_usd(amount)


def test_a_shown_amount_is_plain_decimal_text() -> None:
    """Headers carry 0.000015, never 1.5e-05."""
    shown = [(15_000, 6), (1_499, 6), (500, 6), (-2_500_000_000, 2), (NANO, 0), (1, 9), (999_999_999, 2)]
    assert [usd_text(nano, places) for nano, places in shown] == [
        *("0.000015", "0.000001", "0.000001", "-2.50", "1", "0.000000001", "1.00")
    ]
