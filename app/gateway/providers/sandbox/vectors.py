"""Embeddings by hashing: texts that share words lie near each other, the same text always in the same place."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from array import array
from itertools import pairwise
from typing import Any, Final

_WORD: Final = re.compile(r"\w+|[^\w\s]")
_PLACES: Final = 8
_DIGEST: Final = struct.Struct(f"<{_PLACES}I")


def vector(text: str, dimensions: int) -> list[float]:
    """A unit vector of that length; each word and each pair of neighbours adds ±1 in a few places."""
    words = _WORD.findall(text.lower())
    sums = [0.0] * dimensions
    for feature in [*words, *(f"{one} {two}" for one, two in pairwise(words)), *([] if words else [f"\0{text}"])]:
        digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=_DIGEST.size).digest()
        for number in _DIGEST.unpack(digest):
            sums[(number >> 1) % dimensions] += 1.0 if number & 1 else -1.0
    length = math.sqrt(math.fsum(value * value for value in sums))
    if not length:
        sums[len(text) % dimensions] = length = 1.0
    return [value / length for value in sums]


def encoded(values: list[float], encoding: Any) -> list[float] | str:
    """The vector as JSON numbers, or for `base64` as little-endian 32-bit floats."""
    if encoding != "base64":
        return values
    floats = array("f", values)
    if struct.pack("=f", 1.0) != struct.pack("<f", 1.0):
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode("ascii")
