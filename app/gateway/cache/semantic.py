"""Questions by their meaning: vectors of what was asked before, compared within everything else a call says."""

from __future__ import annotations

import math
import time
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import nsmallest
from operator import mul
from typing import TYPE_CHECKING, Final, TypeAlias

from app.gateway.cache.keys import hashed, told
from app.gateway.wire import Json, Kind

if TYPE_CHECKING:
    from app.gateway.config import Config
    from app.gateway.exchange import Exchange

# Beyond this a text is a document, which no vector of a few hundred numbers tells from the next.
LONGEST: Final = 16_000
# Questions compared for one call: the product of two vectors takes some 50 microseconds, their signs 0.1.
MOST_APART: Final = 1_000
CANDIDATES: Final = 16
MOST_BYTES: Final = 64 * 1024 * 1024
ROUNDING: Final = 1e-6
Vector: TypeAlias = "array[float]"


@dataclass(frozen=True, slots=True)
class Question:
    """The last turn of a call as a unit vector, and the hash of everything else, within which it is compared."""

    apart: bytes
    vector: Vector = field(repr=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was answered, and the key of its answer. `signs` has a bit for each number that is positive."""

    vector: Vector = field(repr=False)
    signs: int = field(repr=False)
    key: bytes
    expires: float


class Meanings:
    """What one worker was asked. Bounded in number and bytes; the question asked longest ago goes first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most_bytes: int = MOST_BYTES) -> None:
        self._clock, self._most_bytes = clock, most_bytes
        self._held: OrderedDict[bytes, deque[Asked]] = OrderedDict()
        self.entries = self.bytes = 0

    def nearest(self, question: Question, threshold: float) -> tuple[bytes, float] | None:
        """The key of the answer to the most similar question and their cosine; None when none is similar enough.

        Signs choose the candidates: vectors that agree in few of them point elsewhere. Their products decide.
        """
        moment, signs, size = self._clock(), _signs(question.vector), len(question.vector)
        held = self._held.get(question.apart, ())
        fresh = [asked for asked in held if asked.expires > moment and len(asked.vector) == size]
        close = nsmallest(CANDIDATES, fresh, key=lambda asked: (asked.signs ^ signs).bit_count())
        found = max(((cosine(asked.vector, question.vector), asked) for asked in close), key=_first, default=None)
        if found is None or found[0] < threshold - ROUNDING:
            return None
        return found[1].key, min(found[0], 1.0)

    def add(self, question: Question, key: bytes, expires: float, most: int) -> None:
        """Remember that this answers it."""
        held = self._held.setdefault(question.apart, deque())
        held.append(Asked(question.vector, _signs(question.vector), key, expires))
        self._held.move_to_end(question.apart)
        self._count(held[-1], 1)
        if len(held) > MOST_APART:
            self._count(held.popleft(), -1)
        while self.entries > most or self.bytes > self._most_bytes:
            self._drop_oldest()

    def drop(self, question: Question, key: bytes) -> None:
        """Forget an answer that is not there any more."""
        held = self._held.get(question.apart, deque())
        for asked in [asked for asked in held if asked.key == key]:
            held.remove(asked)
            self._count(asked, -1)

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self.entries = self.bytes = 0

    def _drop_oldest(self) -> None:
        apart, held = next(iter(self._held.items()))
        if held:
            self._count(held.popleft(), -1)
        if not held:
            del self._held[apart]

    def _count(self, asked: Asked, number: int) -> None:
        self.entries += number
        self.bytes += number * len(asked.vector) * asked.vector.itemsize


def split(exchange: Exchange, config: Config) -> tuple[bytes, str] | None:
    """The hash of all that a call says but the text of its last turn, and that text.

    None when meaning cannot stand for it: no conversation, a last turn that is not the user's, or one with more than
    text in it.
    """
    body = exchange.body
    messages = body.get("messages") if exchange.kind is Kind.CHAT else None
    if not isinstance(messages, list) or not messages or messages[-1].get("role") != "user":
        return None
    last = messages[-1]
    parts = [{"type": "text", "text": said}] if isinstance(said := last.get("content"), str) else said
    texts = _texts(parts)
    text = "\n".join(texts or ()).strip()
    if not text or len(text) > LONGEST:
        return None
    frame = {**last, "content": [{k: v for k, v in part.items() if k != "text"} for part in parts]}
    return hashed(exchange, config, {**told(body), "messages": [*messages[:-1], frame]}), text


def _texts(parts: object) -> list[str] | None:
    """The texts of a turn that is nothing else."""
    if not isinstance(parts, list) or not all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
        return None
    texts = [part.get("text") for part in parts]
    return texts if all(isinstance(text, str) for text in texts) else None


def unit(answer: Json) -> Vector | None:
    """The vector of a one-text embeddings answer at length 1; None when it is no such thing."""
    try:
        numbers = [float(number) for number in answer["data"][0]["embedding"]]
    except (LookupError, TypeError, ValueError):
        return None
    length = math.hypot(*numbers) if numbers else 0.0
    return array("f", (number / length for number in numbers)) if math.isfinite(length) and length else None


def cosine(one: Iterable[float], other: Iterable[float]) -> float:
    """Of two unit vectors of one size."""
    return math.fsum(map(mul, one, other))


def _signs(vector: Vector) -> int:
    return int("".join("1" if number > 0 else "0" for number in vector), 2)


def _first(found: tuple[float, Asked]) -> float:
    return found[0]
