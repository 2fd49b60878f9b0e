"""The chained log: every exchange once, whatever crashes, and nobody changes it unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update

from app.factory import Application
from app.services import rollups
from app.services.observing import intake
from app.services.observing.exchange_log import Keeping, linked
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from models.base import micros, now, transaction
from models.observing import ExchangeChain, LoggedExchange
from support.callers import Caller
from support.receiver import receiving
from support.together import at_once

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
Json = dict[str, Any]
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


class NoPause:
    """The engine's context as far as a turn uses it here."""

    def pause(self, _seconds: float) -> None:
        """Go on at once."""


def exchanges(number: int, ago: timedelta = timedelta(), **fields: Any) -> list[TraceRecord]:
    """So many stored calls."""
    held = {"request_id": "r", "operation": "chat.completion", "provider": "openai", "model": "m", "status": "ok"}
    held |= {"created_at": micros(now() - ago)}
    return [TraceRecord(id=trace_id(), **(held | fields)) for _ in range(number)]


@pytest.fixture
def entries(application: Application) -> Callable[[], list[LoggedExchange]]:
    """The log, oldest first."""

    def read() -> list[LoggedExchange]:
        with transaction(application.runtime.engine, write=False) as session:
            return list(session.scalars(select(LoggedExchange).order_by(LoggedExchange.number)))

    return read


@pytest.fixture
def checked(application: Application, admin: Caller) -> Callable[[], Json]:
    """What the statistics say once the whole chain was walked."""

    def walk() -> Json:
        Keeping(application.runtime.engine)(NoPause())  # type: ignore[arg-type]
        return dict(admin.get("/api/proxy/modules/compliancelog").json()["stats"])

    return walk


Entries = Callable[[], list[LoggedExchange]]
Checked = Callable[[], Json]


def test_every_exchange_is_in_the_log(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Traces, entries: Entries, checked: Checked
) -> None:
    """Plain, streamed and refused, with what was said, and no key in it; nothing while the module is off."""
    ask(MODEL, "before")
    traces(1)
    configure("compliancelog")
    upstream.script(MODEL, {"text": "the answer"}, {"text": "the answer"}, {"status": 400})
    for stream in (False, True, False):
        ask(MODEL, "my key is sk-proj-canaryinprompt0123456789", stream=stream)
    rows = traces(4)
    found = entries()
    assert [entry.trace_id for entry in found] == [row["id"] for row in rows[1:]]
    told = [json.loads(entry.content) for entry in found]
    assert ["the answer" in one.get("response_body", "") for one in told] == [True, True, False]
    assert all("my key is" in one["request_body"] for one in told)
    assert not any(b"canaryinprompt" in entry.content for entry in found)
    assert [one["status"] for one in told] == ["ok", "ok", "error"]
    assert checked() | {"checked_at": ""} == {
        "entries": 3,
        "first": 1,
        "last": 3,
        "last_hash": found[-1].hash,
        "checked_at": "",
        "valid": True,
        "broken_at": None,
    }


@SQLITE
def test_an_entry_is_hashed_with_all_before_it(
    application: Application, configure: Configure, entries: Entries
) -> None:
    """By the rule that is written down, so that others can check it with their own tools."""
    configure("compliancelog", include_bodies=False)
    store(application.runtime.engine, exchanges(3, request_body=b"secret talk"))
    before = ""
    for entry in entries():
        assert entry.hash == linked(before, entry.number, entry.content)
        assert b"secret talk" not in entry.content
        before = entry.hash


FORGERIES: list[tuple[str, Any, int]] = [
    ("changed", update(LoggedExchange).where(LoggedExchange.number == 4).values(content=b"{}"), 4),
    ("removed", delete(LoggedExchange).where(LoggedExchange.number == 4), 4),
    ("first removed", delete(LoggedExchange).where(LoggedExchange.number == 1), 1),
    ("last removed", delete(LoggedExchange).where(LoggedExchange.number == 6), 6),
    ("renumbered", update(LoggedExchange).where(LoggedExchange.number == 6).values(number=7), 6),
    ("end moved", update(ExchangeChain).values(hash="0" * 64), 6),
]


@SQLITE
@pytest.mark.parametrize(("forgery", "broken"), [case[1:] for case in FORGERIES], ids=[case[0] for case in FORGERIES])
def test_what_was_tampered_with_is_found(
    application: Application, configure: Configure, checked: Checked, *, forgery: Any, broken: int
) -> None:
    """At the first entry that does not follow."""
    configure("compliancelog")
    store(application.runtime.engine, exchanges(6))
    assert checked()["valid"] is True
    with transaction(application.runtime.engine) as session:
        session.execute(forgery)
    found = checked()
    assert (found["valid"], found["broken_at"]) == (False, broken)


@SQLITE
@pytest.mark.settings(engine="on", outbound_allow="127.0.0.1")
def test_a_broken_chain_is_told_of(
    application: Application, admin: Caller, configure: Configure, checked: Checked
) -> None:
    """Whoever watches the log hears of it without asking."""
    configure("compliancelog")
    with receiving() as receiver:
        admin.post("/api/webhooks", json={"url": receiver.url, "events": ["alert.fired"]})
        store(application.runtime.engine, exchanges(2))
        with transaction(application.runtime.engine) as session:
            session.execute(delete(LoggedExchange).where(LoggedExchange.number == 1))
        checked()
        told = receiver.of("alert.fired")[0].body["data"]
    assert (told["source"], told["rule_name"], told["metric_value"]) == ("compliancelog", "broken_chain", 1)


@SQLITE
def test_what_is_past_its_age_goes_and_the_rest_still_holds(
    application: Application, configure: Configure, checked: Checked, entries: Entries
) -> None:
    """The chain begins then after the last entry that went, whose hash is kept."""
    configure("compliancelog", retention_days=30)
    engine = application.runtime.engine
    store(engine, exchanges(3, timedelta(days=31)))
    store(engine, exchanges(2))
    found = checked()
    assert (found["entries"], found["first"], found["valid"]) == (2, 4, True)
    store(engine, exchanges(1))
    assert (checked()["valid"], [entry.number for entry in entries()]) == (True, [4, 5, 6])


def test_a_call_stored_twice_is_logged_once(
    application: Application, configure: Configure, entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash before the commit leaves neither the trace nor the entry; what is stored again gets both."""
    configure("compliancelog")
    engine, rows, observe = application.runtime.engine, exchanges(4), intake.observe

    def dies(*told: Any) -> None:
        observe(*told)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(rollups.intake, "observe", dies)
        with pytest.raises(MemoryError):
            store(engine, rows)
    assert entries() == []
    store(engine, rows)
    store(engine, rows)
    assert len(entries()) == 4


def test_writers_at_once_make_one_chain(
    application: Application, configure: Configure, checked: Checked, entries: Entries
) -> None:
    """Whoever stores calls, on however many machines."""
    configure("compliancelog")
    engine = application.runtime.engine
    at_once(*[lambda: store(engine, exchanges(5)) for _ in range(6)])
    assert [entry.number for entry in entries()] == list(range(1, 31))
    assert checked()["valid"] is True
    with transaction(engine, write=False) as session:
        assert session.scalar(text("SELECT count(*) FROM exchange_chains")) == 1
