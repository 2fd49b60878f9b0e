"""Token buckets: never more than the burst and the rate allow, whatever the clock does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.buckets import Buckets

TIMES = st.lists(st.floats(-5, 20), min_size=1, max_size=80)


@given(TIMES, st.floats(0.1, 5), st.integers(1, 10))
def test_never_more_than_the_burst_and_the_rate(steps: list[float], rate: float, burst: int) -> None:
    """Also when the clock steps back and forth: no token is given twice."""
    now = latest = first = 100.0 + steps[0]
    buckets = Buckets(lambda: now)
    admitted = 0
    for step in [0.0, *steps[1:]]:
        now += step
        latest = max(latest, now)
        admitted += buckets.take("a", rate, burst).admitted
        assert admitted <= burst + rate * (latest - first) + 1e-6


@given(st.integers(1, 20), st.floats(0.1, 5))
def test_the_wait_is_true(burst: int, rate: float) -> None:
    """Who comes back after it is admitted; who comes earlier is not."""
    now = [0.0]
    buckets = Buckets(lambda: now[0])
    levels = [buckets.take("a", rate, burst) for _ in range(burst + 1)]
    assert [level.admitted for level in levels] == [True] * burst + [False]
    now[0] = levels[-1].wait * 0.99
    assert not buckets.take("a", rate, burst).admitted
    now[0] = levels[-1].wait * 1.001
    assert buckets.take("a", rate, burst).admitted


def test_a_clock_that_steps_back_takes_nothing_away() -> None:
    """A caller is not locked out because somebody set the time."""
    now = [100.0]
    buckets = Buckets(lambda: now[0])
    assert buckets.take("a", 1, 3).remaining == 2
    now[0] = 50.0
    assert buckets.take("a", 1, 3).remaining == 1
    assert buckets.take("a", 1, 3).admitted


def test_keys_do_not_share() -> None:
    """One caller's burst is not another's."""
    buckets = Buckets(lambda: 0.0)
    assert [buckets.take(key, 1, 1).admitted for key in "aabb"] == [True, False, True, False]


def test_it_holds_a_bounded_number() -> None:
    """A flood of addresses must not fill the memory; the one used last is kept."""
    buckets = Buckets(lambda: 0.0, most=100)
    for n in range(1000):
        buckets.take("hot", 1, 1)
        buckets.take(f"ip:{n}", 1, 1)
    assert len(buckets._held) == 100
    assert not buckets.take("hot", 1, 1).admitted
