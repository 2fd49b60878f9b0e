"""Calls that wait for approval in tests: made beside the test, and decided on by its operator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from models.approvals import HeldCall
from models.base import now

Json = dict[str, Any]
APPROVALS = "/api/proxy/approvals"
WITHIN_S = 10.0
BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
# What is known of a call that waits.
ABOUT: Json = {
    "reason": "pattern",
    "rule": "drop",
    "project": "default",
    "model": "gpt-4o",
    "operation": "chat",
    "stream": False,
    "trace_id": "tr_1",
    "request_id": "req_1",
    "preview": "drop it",
}


def held_call(**columns: Any) -> HeldCall:
    """A call that waits, held by nobody in particular."""
    moments = {"created_at": BEGAN, "expires_at": BEGAN, "alive_until": now() + timedelta(minutes=5)}
    return HeldCall(**{"fingerprint": "f" * 64, **ABOUT, **moments, **columns})


class Desk:
    """Where calls wait. `get` and `post` are the operator's."""

    def __init__(self, pool: ThreadPoolExecutor, get: Callable[..., Any], post: Callable[..., Any]) -> None:
        self._pool, self._get, self._post = pool, get, post

    def begin(self, call: Callable[..., Any], *words: Any, **options: Any) -> Future[Any]:
        """Make a call beside the test."""
        return self._pool.submit(call, *words, **options)

    def listed(self, **query: Any) -> list[Json]:
        """What the operator sees, newest first."""
        found: list[Json] = self._get(APPROVALS, params=query).json()["approvals"]
        return found

    def ended(self, status: str, count: int = 1) -> list[Json]:
        """The calls of which this became, once there are so many; fails when there are fewer in time."""
        deadline = time.monotonic() + WITHIN_S
        while len(found := self.listed(status=status)) < count:
            assert time.monotonic() < deadline, f"{len(found)} {status} instead of {count}: {self.listed()}"
            time.sleep(0.02)
        return found

    def waiting(self, count: int = 1) -> list[Json]:
        """The calls that wait, once there are so many."""
        return self.ended("waiting", count)

    def counted(self) -> Json:
        """What the module counted, without what it did not."""
        counts = self._get("/api/proxy/modules/approvalgate").json()["stats"]
        return {name: count for name, count in counts.items() if count}

    def decide(self, number: int, act: str, note: str = "") -> Any:
        """Approve or reject; the answer."""
        return self._post(f"{APPROVALS}/{number}/{act}", **({"json": {"note": note}} if note else {}))


@contextmanager
def desk_of(get: Callable[..., Any], post: Callable[..., Any]) -> Iterator[Desk]:
    """The desk of an operator; what was begun must be over at the end."""
    with ThreadPoolExecutor(8) as pool:
        yield Desk(pool, get, post)
