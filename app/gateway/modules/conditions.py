"""Conditions on a call that several modules share: which operation, which models, at what hours of which days."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import translate
from re import compile as compile_pattern
from typing import TYPE_CHECKING, Any, Final

from app.gateway import routing
from app.problems import Problem
from app.runtime import runtime

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Clock = Callable[[], datetime]
Among = Callable[[Iterable[str]], bool]


def utc_now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Times:
    """Hours of the day, UTC, from the first until the last begins, over midnight too; and days of the week.

    Hours after midnight belong to the day the span began on.
    """

    first: int
    last: int
    days: frozenset[int]

    def hold(self, moment: datetime) -> bool:
        """Whether the moment is among them."""
        hour, day = moment.hour, moment.weekday()
        if self.first < self.last:
            return self.first <= hour < self.last and day in self.days
        return day in self.days if hour >= self.first else hour < self.last and (day - 1) % 7 in self.days


def times(settings: Mapping[str, Any]) -> Times:
    """The hours, such as `08-18`, and days of settings that name them; nothing named is always."""
    first, _, last = settings["hours"].partition("-")
    days = frozenset(map(DAYS.index, settings["days"] or DAYS))
    return Times(int(first or 0), int(last or 24), days)


def among(globs: Sequence[str]) -> Among:
    """Whether one of some names fits one of the globs, in whatever case."""
    patterns = [compile_pattern(translate(glob.lower())) for glob in globs]
    return lambda names: any(pattern.match(name.lower()) for pattern in patterns for name in names)


def models(exchange: Exchange) -> list[tuple[str, ...]]:
    """The models a call asks for, each by every name it has here: several of one that asks several at once."""
    if exchange.fan is None:
        return [(exchange.asked, exchange.model)]
    config = runtime().gateway.config
    aliases = config.aliases if config.on("modelalias") else {}
    return [(model, aliases.get(model, (model, ""))[0]) for model in exchange.fan.route.models]


def bare(names: Iterable[str]) -> list[str]:
    """The names, and those that a provider is written before without it: `openai/gpt-4o` is `gpt-4o` as well."""
    return [form for name in names for form in {name, name.partition("/")[2]} if form]


async def dearest(exchange: Exchange, model: str) -> int | None:
    """Nano-dollars the call cannot cost more than, wherever it may go by now; None where no price is known."""
    gateway, user = runtime().gateway, exchange.call.principal.user_id
    asking = replace(exchange, model=model, fan=None)
    personal = await gateway.personal.of(user) if user is not None else {}
    try:
        found = (exchange.route or routing.targets)(asking, gateway.config, personal)
    except Problem:  # it goes nowhere, and is told why there
        return None
    known = [nano for nano in gateway.caps.worst(asking, found, gateway.prices) if nano is not None]
    return max(known, default=None)
