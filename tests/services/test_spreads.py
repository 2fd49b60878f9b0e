"""Spreads: percentiles read from buckets are those of the values, as nearly as is promised."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.services.observing.spreads import bucket, mean, middle, percentile, slot_of

VALUES = st.integers(0, 10**15)


@given(VALUES)
def test_a_value_is_read_back_to_three_percent(value: int) -> None:
    """And exactly while it is small."""
    assert abs(middle(bucket(value)) - value) <= value * 0.032
    assert value >= 32 or middle(bucket(value)) == value


@given(VALUES, VALUES)
def test_a_greater_value_is_in_no_lesser_bucket(one: int, other: int) -> None:
    """Else counting up to a share would not find the percentile."""
    assert bucket(min(one, other)) <= bucket(max(one, other))


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=60), st.floats(0, 100))
def test_a_percentile_is_the_one_of_the_values(values: list[int], share: float) -> None:
    """By the nearest rank, whatever the values and in whatever order they came."""
    exact = sorted(values)[max(1, math.ceil(len(values) * share / 100)) - 1]
    found = percentile(Counter(map(bucket, values)), share)
    assert found is not None
    assert abs(found - exact) <= exact * 0.032


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=60))
def test_a_mean_is_the_one_of_the_values(values: list[int]) -> None:
    """To the same three percent."""
    exact = sum(values) / len(values)
    assert abs(mean(Counter(map(bucket, values))) - exact) <= exact * 0.032 + 1e-9


def test_of_no_calls_there_is_no_figure() -> None:
    """Nothing is not zero."""
    assert percentile({}, 95) is None
    assert mean({}) == 0


def test_a_slot_begins_where_its_width_says() -> None:
    """All calls of an hour are counted together, those of the next are not."""
    assert slot_of(3_600_000_000 * 5 + 1, 60) == 300
    assert slot_of(3_600_000_000 * 6 - 1, 60) == 300
    assert slot_of(61_000_000, 1) == 1
