"""What is usual: running figures agree with those of whole lists, and know the clock is round."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.observing.usual import Clock, Usual, hour_of

VALUES = st.lists(st.floats(0, 40), min_size=1, max_size=200)


def usual(values: list[float]) -> Usual:
    """What is usual after these."""
    known = Usual()
    for value in values:
        known = known.learnt(value)
    return known


def clock(hours: list[float]) -> Clock:
    """What is usual after these hours."""
    known = Clock()
    for hour in hours:
        known = known.learnt(hour)
    return known


@given(VALUES)
def test_running_figures_are_those_of_the_list(values: list[float]) -> None:
    """Whatever the values, up to the memory."""
    known = usual(values)
    assert known.values == len(values)
    assert known.mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert known.variance == pytest.approx(statistics.pvariance(values), abs=1e-6)
    assert known.variance >= 0


@given(VALUES, st.floats(0, 40), st.floats(1, 10))
def test_a_bounded_value_is_no_anomaly(values: list[float], value: float, most: float) -> None:
    """It is the value itself where that is none, and else the edge of what is usual."""
    known = usual(values)
    bounded = known.bounded(value, most, 0.1)
    assert abs(known.deviation(bounded, 0.1)) <= most + 1e-6
    if abs(known.deviation(value, 0.1)) < most:
        assert bounded == value


def test_values_that_are_all_alike_leave_room() -> None:
    """Without a spread of their own, one standard deviation is the least that was said."""
    assert usual([5.0] * 500).deviation(5.2, 0.1) == pytest.approx(2)
    assert usual([5.0] * 500).deviation(4.0, 0.1) == pytest.approx(-10)


def test_what_changed_for_good_becomes_usual() -> None:
    """Old values fade once there are more than the memory holds."""
    known = usual([1.0] * 100_000)
    for _ in range(5_000):
        known = known.learnt(3.0)
    assert known.mean == pytest.approx(3, abs=0.02)


def test_midnight_lies_between_eleven_and_one() -> None:
    """The clock is round: a plain mean would say noon."""
    known = clock([23, 1] * 50)
    assert min(known.hour, 24 - known.hour) < 1e-6
    assert known.spread == pytest.approx(1, abs=0.05)
    assert known.deviation(0.5, 1) < 1
    assert known.deviation(12, 1) == pytest.approx(12, rel=0.05)


def test_who_is_at_work_at_all_hours_has_no_odd_one() -> None:
    """Nothing falls out of a pattern that is none."""
    known = clock([hour + 0.5 for hour in range(24)] * 10)
    assert all(known.deviation(hour, 1) < 0.5 for hour in range(24))
    assert Clock().deviation(3, 1) == 0
    assert clock([2, 2, 2]).deviation(14, 1) == pytest.approx(12)


def test_hours_are_read_in_utc() -> None:
    """Of microseconds since the epoch, which began at midnight."""
    assert hour_of(0) == 0
    assert hour_of(86_400_000_000 * 20_000 + 3_600_000_000 * 13 + 1_800_000_000) == 13.5
    assert math.floor(hour_of(86_399_999_999)) == 23
