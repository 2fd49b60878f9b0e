"""One request as the server sees it: the operation, who asks, and what was decoded."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from app.security.principals import ANONYMOUS, Principal
from app.spec.operations import Operation
from app.wire.limits import Rate
from app.wire.replies import Receive


@dataclass(slots=True)
class Call:
    """A matched request. `arguments` are the validated parameters, `body` the validated body."""

    operation: Operation
    request_id: str
    path: Mapping[str, str]
    query: bytes
    headers: Mapping[str, str] = field(repr=False)
    client: str = ""
    principal: Principal = ANONYMOUS
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)
    body: Any = field(default=None, repr=False)
    raw: bytes = field(default=b"", repr=False)
    manners: Mapping[str, Any] = field(default_factory=dict, repr=False)
    rate: Rate | None = None
    receive: Receive | None = field(default=None, repr=False)
    started: float = field(default_factory=perf_counter)


_current: ContextVar[Call] = ContextVar("call")


def current() -> Call:
    """The call this code serves."""
    return _current.get()


def running() -> Call | None:
    """The call this code serves, if it serves one."""
    return _current.get(None)


def enter(call: Call) -> None:
    """Make this the call that `current()` answers, in this task and what it starts."""
    _current.set(call)
