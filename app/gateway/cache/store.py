"""What the shared cache asks of a store: sealed answers under hashes, bounded, none older than it may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """A sealed answer to be stored. `expires` is in epoch seconds; `epoch` is the cache's when it was asked for."""

    key: str
    user_id: int | None
    epoch: int
    expires: float
    sealed: str = field(repr=False)


class Stored(NamedTuple):
    """A sealed answer that was found, and when it expires, in epoch seconds."""

    sealed: str
    expires: float


class Room(NamedTuple):
    """The most a store may hold: answers, and bytes of them."""

    entries: int
    bytes: int


class Store(Protocol):
    """Answers that workers share. Every method may block, and may raise whatever the store's client does."""

    name: str

    def get(self, keys: Collection[str], epoch: int) -> Mapping[str, Stored]:
        """Those of the answers that are there and fresh."""

    def put(self, entries: Sequence[Entry]) -> None:
        """Store them, each in the place of the one before; none of an epoch that is over, or of a user who is gone."""

    def tend(self, room: Room, epoch: int) -> None:
        """Delete what expired or is of an earlier epoch, then what expires first of too much."""

    def held(self, epoch: int) -> tuple[int, int]:
        """How many answers there are, and their bytes."""

    def clear(self, epoch: int) -> int:
        """Delete all of them up to this epoch; how many there were."""
