"""Circuit breakers by a clock of our own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, Passage


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def opened(clock: Clock, threshold: int = 3) -> Breaker:
    """A circuit just opened."""
    breaker = Breaker(threshold, 30.0, clock)
    for _ in range(threshold):
        passed(breaker).failed()
    assert breaker.state == OPEN
    return breaker


def passed(breaker: Breaker) -> Passage:
    """Leave that must be given."""
    passage = breaker.admit()
    assert passage is not None
    return passage


def test_only_failures_in_a_row_open_it() -> None:
    """A provider that answers now and then is not down."""
    breaker = Breaker(3, 30.0, Clock())
    for _ in range(5):
        passed(breaker).failed()
        passed(breaker).failed()
        passed(breaker).succeeded()
    assert (breaker.state, breaker.failures) == (CLOSED, 0)


def test_one_probe_at_a_time_decides() -> None:
    """A provider that comes up must not be met by everybody at once."""
    clock = Clock()
    breaker = opened(clock)
    clock.now += 29.9
    assert (breaker.admit(), round(breaker.retry_after(), 1)) == (None, 0.1)
    clock.now += 0.2
    assert breaker.state == HALF_OPEN
    probe = passed(breaker)
    assert [breaker.admit() for _ in range(3)] == [None] * 3
    probe.succeeded()
    assert breaker.state == CLOSED


def test_a_failed_probe_opens_it_for_the_whole_time_again() -> None:
    """It is still down."""
    clock = Clock()
    breaker = opened(clock)
    clock.now += 31
    passed(breaker).failed()
    assert (breaker.state, breaker.retry_after()) == (OPEN, 30.0)


def test_calls_from_before_it_opened_prove_nothing() -> None:
    """Fifty slow failures must not keep it open for ever, a late success not close it, a late hang-up free no probe."""
    clock = Clock()
    breaker = Breaker(2, 30.0, clock)
    early = [passed(breaker) for _ in range(5)]
    early[0].failed()
    early[1].failed()
    clock.now += 20
    early[2].failed()
    early[3].succeeded()
    assert (breaker.state, breaker.retry_after()) == (OPEN, 10.0)
    clock.now += 11
    probe = passed(breaker)
    early[4].released()
    assert breaker.admit() is None
    probe.released()
    assert breaker.admit() is not None


def test_a_probe_that_never_comes_back_is_replaced() -> None:
    """A lost task must not shut a provider out for good."""
    clock = Clock()
    breaker = opened(clock)
    clock.now += 31
    lost = passed(breaker)
    clock.now += 30
    assert breaker.admit() not in {None, lost}


@given(st.lists(st.sampled_from(["admit", "succeed", "fail", "release", "wait"]), max_size=60))
def test_never_more_than_one_probe_and_never_stuck(steps: list[str]) -> None:
    """Whatever happens in whatever order: while it is not closed at most one call is out, and time always heals."""
    clock = Clock()
    breaker = Breaker(2, 10.0, clock)
    out: list[Passage] = []
    for step in steps:
        if step == "wait":
            clock.now += 4
        elif step == "admit":
            closed = breaker.state == CLOSED
            passage = breaker.admit()
            assert passage or not closed
            out += [passage] if passage else []
        elif out:
            passage = out.pop(0)
            {"succeed": passage.succeeded, "fail": passage.failed, "release": passage.released}[step]()
    clock.now += 25
    assert breaker.admit() is not None
    if breaker.state != CLOSED:
        assert breaker.admit() is None
