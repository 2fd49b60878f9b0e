"""People in tests, and the assertion that an answer is the promised one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.callers import Caller

# `promised(response, 201)`: the body, proven to be what the document says of this status.
Promised = Callable[..., dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Person:
    """A user of a test: their number, a caller with their first key, and that key."""

    id: int
    caller: Caller
    key_id: int
    key: str = field(repr=False)
