"""Jobs over rows in tests: people who own them, a job type that waits at a gate, and streams as a client reads them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx

from app.services.row_jobs.contract import JobType, Prepared, Tools, UnitFailed
from support.accounts import People, value_of
from support.callers import Caller

Json = dict[str, Any]
ENDED = {"done", "failed", "cancelled", "expired"}
WITHIN_S = 20.0


class Owner:
    """Somebody with jobs."""

    def __init__(self, people: People, email: str, **fields: Any) -> None:
        self.user = people.make(email, **fields)
        cookie = value_of(people.enter(email).cookies["outsend_session"])
        self.cookie = cookie
        self.caller: Caller = people.by_cookie(cookie)

    def create(self, slug: str, **body: Any) -> Json:
        """A job that was accepted."""
        answer = self.caller.post(f"/api/jobs/{slug}", json=body)
        assert answer.status_code == 201, answer.text
        created: Json = answer.json()
        assert answer.headers["location"] == f"/api/jobs/{created['id']}"
        return created

    def job(self, uid: str) -> Json:
        """A job as it is now."""
        answer = self.caller.get(f"/api/jobs/{uid}")
        assert answer.status_code == 200, answer.text
        shown: Json = answer.json()
        return shown

    def when(self, uid: str, holds: Callable[[Json], bool], within_s: float = WITHIN_S) -> Json:
        """The job as soon as something holds of it."""
        deadline = time.monotonic() + within_s
        while not holds(shown := self.job(uid)):
            assert time.monotonic() < deadline, shown
            time.sleep(0.02)
        return shown

    def ended(self, uid: str, within_s: float = WITHIN_S) -> Json:
        """The job once it is over."""
        return self.when(uid, lambda shown: shown["status"] in ENDED, within_s)

    def done(self, slug: str, **body: Any) -> Json:
        """A job that was created and is done."""
        shown = self.ended(self.create(slug, **body)["id"])
        assert shown["status"] == "done", shown
        return shown

    def rows(self, uid: str, **query: Any) -> list[Json]:
        """Rows of a result."""
        answer = self.caller.get(f"/api/jobs/{uid}/items", params={"limit": 200} | query)
        assert answer.status_code == 200, answer.text
        items: list[Json] = answer.json()["items"]
        return items

    def download(self, uid: str, **query: Any) -> httpx.Response:
        """The answer to a download."""
        return self.caller.get(f"/api/jobs/{uid}/download", params=query)


@dataclass
class Gate:
    """A job type whose units wait until they are let through: real rows, real execution, and time for a test to look.

    A row with `fail` fails, one with `break` breaks, one with `drop` gives no rows, all others give themselves, seen.
    """

    open: threading.Event = field(default_factory=threading.Event)
    began: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    seen: list[int] = field(default_factory=list)

    def kind(self, slug: str = "techstack", lane: str = "parallel") -> JobType:
        """The type, under the slug of one that exists."""
        return JobType(slug, lane, "rows", self.prepare, None, self.each)

    def prepare(self, params: Json, items: list[Json]) -> Prepared:
        """Leave out rows without `n`."""
        kept = [item for item in items if "n" in item]
        return Prepared(kept, len(items) - len(kept), ("Told once.",), 0.0001 * len(kept), dict(params))

    def each(self, _params: Json, item: Json, tools: Tools) -> Iterable[Json]:
        """Wait, then do what the row says."""
        self.began.release()
        if item.get("wait", True):
            assert self.open.wait(WITHIN_S)
        self.seen.append(item["n"])
        if "fail" in item:
            raise UnitFailed(item["fail"])
        if "break" in item:
            raise ZeroDivisionError
        if "note" in item:
            tools.note(item["note"])
        return [] if "drop" in item else [item | {"seen": True}]


def numbered(count: int, **fields: Any) -> list[Json]:
    """So many rows."""
    return [{"n": n} | fields for n in range(count)]


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    data: Json
    id: str = ""


def events(text: str) -> Iterator[Event]:
    """The events of a stream's text; comments and `retry` are no events."""
    for block in text.split("\n\n"):
        told = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in told:
            yield Event(told["event"], json.loads(told["data"]), told.get("id", ""))
