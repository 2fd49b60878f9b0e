"""Identifiers of requests: unique, in the order of time, without a system call for each."""

from __future__ import annotations

import os
import random
import time

# Names, not secrets: unique, but no key to anything. A forked worker must not repeat its parent's.
_source = random.Random(os.urandom(32))  # noqa: S311
os.register_at_fork(after_in_child=lambda: _source.seed(os.urandom(32)))


def ordered() -> int:
    """128 bits: milliseconds since the epoch, then 80 random ones, so that an index of them grows at its end."""
    return (time.time_ns() // 1_000_000) << 80 | _source.getrandbits(80)


def request_id() -> str:
    """A UUID of version 7 (RFC 9562 §5.7)."""
    text = f"{ordered() & ~(0xF000 << 64) & ~(0xC000 << 48) | 0x7000 << 64 | 0x8000 << 48:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
