"""Identifiers of requests and traces: 128 random bits, without a system call for each."""

from __future__ import annotations

import os
import random
import uuid

# Names, not secrets: unique, but no key to anything. A forked worker must not repeat its parent's.
_source = random.Random(os.urandom(32))  # noqa: S311
os.register_at_fork(after_in_child=lambda: _source.seed(os.urandom(32)))


def identifier() -> int:
    """128 random bits."""
    return _source.getrandbits(128)


def request_id() -> str:
    """A random UUID (RFC 9562 §5.4), in its usual form."""
    return str(uuid.UUID(int=identifier(), version=4))
