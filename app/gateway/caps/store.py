"""What a store of reservations must do, whichever it is: the database or Redis."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.services.spending.counters import Key, Standing

# A call that nobody renews is a dead worker's: what it held is free again after so many seconds.
LEASE_S = 90.0
# What a settled call holds until its trace is stored; only a database that is away for days lets it lapse.
SETTLED_S = 172_800.0


class StoreError(Exception):
    """The store does not answer: what it should hold cannot be held."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A counter a call counts against, and the most it may reach in nano-dollars; None when nothing is refused."""

    key: Key
    most: int | None


@dataclass(frozen=True, slots=True)
class Reserve:
    """Hold `amount` nano-dollars of every counter for a call, or of none when one has no room."""

    id: str
    amount: int
    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    """From now on a call holds what it cost."""

    id: str
    cost: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The limits that had no room, each with how its counter stood."""

    full: tuple[tuple[Limit, Standing], ...]


Operation = Reserve | Settle
Outcome = Refusal | None


class Store(Protocol):
    """Reservations that all workers share. Every method may wait, so none is called on the event loop.

    StoreError when it does not answer.
    """

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Carry out operations, each whole or not at all; what became of each."""

    def renew(self, ids: Collection[str]) -> None:
        """Keep what these calls hold from expiring."""

    def tend(self) -> None:
        """End what expired, and bring the counters in step with the stored traces."""


def full(operation: Reserve, standing: dict[Key, Standing]) -> Refusal | None:
    """The refusal of a reservation that does not fit."""
    over = [
        (limit, held)
        for limit in operation.limits
        if limit.most is not None
        and (held := standing[limit.key]).spent + held.reserved + operation.amount > limit.most
    ]
    return Refusal(tuple(over)) if over else None
