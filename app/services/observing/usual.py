"""What is usual of a figure: mean and spread in three numbers, as calls come; and of a time of day, on its circle."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

# Values after which old ones fade: a pattern that changes for good becomes the usual one.
MEMORY: Final = 1_000
DAY_US: Final = 86_400_000_000
HOURS: Final = 24


class Usual(NamedTuple):
    """The mean and the variance of so many values."""

    values: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def deviation(self, value: float, least: float) -> float:
        """Standard deviations from the mean, one being `least` or more: values that were all alike have none."""
        return (value - self.mean) / max(math.sqrt(self.variance), least)

    def bounded(self, value: float, most: float, least: float) -> float:
        """The value, or the nearest one that is no more than so many standard deviations from the mean."""
        reach = most * max(math.sqrt(self.variance), least)
        return min(max(value, self.mean - reach), self.mean + reach)

    def learnt(self, value: float, memory: int = MEMORY) -> Usual:
        """With one more value: it weighs as much as each before it, up to so many of these."""
        share = 1 / min(self.values + 1, memory)
        away = value - self.mean
        variance = (1 - share) * (self.variance + share * away * away)
        return Usual(self.values + 1, self.mean + share * away, variance)


class Clock(NamedTuple):
    """The mean direction of so many hours of the day: the longer the vector, the closer they are together."""

    values: int = 0
    across: float = 0.0
    up: float = 0.0

    @property
    def hour(self) -> float:
        """The hour they lie around."""
        return math.atan2(self.up, self.across) / math.tau * HOURS % HOURS

    @property
    def spread(self) -> float:
        """Their circular standard deviation in hours; endless when they are all around the clock."""
        length = min(1.0, math.hypot(self.across, self.up))
        return math.sqrt(-2 * math.log(length)) / math.tau * HOURS if length else math.inf

    def deviation(self, hour: float, least: float) -> float:
        """Standard deviations from the mean hour, one being `least` hours or more, the shorter way round."""
        away = abs(hour - self.hour)
        return min(away, HOURS - away) / max(self.spread, least)

    def learnt(self, hour: float, memory: int = MEMORY) -> Clock:
        """With one more hour."""
        share, angle = 1 / min(self.values + 1, memory), hour / HOURS * math.tau
        across = self.across + share * (math.cos(angle) - self.across)
        return Clock(self.values + 1, across, self.up + share * (math.sin(angle) - self.up))


def hour_of(at_us: int) -> float:
    """The time of day in hours, of a moment in microseconds since the epoch, in UTC."""
    return at_us % DAY_US / DAY_US * HOURS
