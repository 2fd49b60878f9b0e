"""Following a job: what a stream says, in which order, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sqlalchemy import delete

from app.services.row_jobs import stream
from models.base import transaction
from models.row_jobs import RowJob, RowJobStream
from support.callers import Client
from support.envelopes import Refusals
from support.row_jobs import Event, Gate, Owner, events, numbered

pytestmark = pytest.mark.settings(engine="on")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Clients that read streams to their end."""
    with ThreadPoolExecutor(4) as opened:
        yield opened


def follow(owner: Owner, uid: str, **options: str) -> list[Event]:
    """The events of a stream, read to its end."""
    headers = {"last-event-id": options["last"]} if "last" in options else {}
    params = {"after": options["after"]} if "after" in options else {}
    answer = owner.caller.get(f"/api/jobs/{uid}/stream", headers=headers, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert answer.text.startswith("retry: 3000\n\n")
    return list(events(answer.text))


def running(owner: Owner, gate: Gate, items: int = 1) -> str:
    """A job that is being worked on."""
    uid = str(owner.create("techstack", items=numbered(items))["id"])
    assert gate.began.acquire(timeout=20)
    owner.when(uid, lambda shown: shown["status"] == "running")
    return uid


def begun(streamed: Future[list[Event]], client: Client) -> None:
    """Wait until the stream is open; the server makes what holds it."""
    services = client.application.runtime.services
    while not any(isinstance(service, stream.Streams) and service._watched for service in services):
        assert not streamed.done(), streamed.result()
        time.sleep(0.01)


def test_a_stream_tells_of_a_job_until_its_end(
    client: Client, owner: Owner, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    """Lines from the first one on, states, and at last the final state, the last lines and `done`."""
    uid = running(owner, gate)
    streamed = pool.submit(follow, owner, uid)
    begun(streamed, client)
    gate.open.set()
    told = streamed.result(20)
    lines = [event for event in told if event.name == "log"]
    assert [line.id for line in lines] == [f"{uid}:{seq}" for seq in range(1, len(lines) + 1)]
    assert [line.data["message"] for line in lines][-1] == "Done: 1 of 1 rows, 1 rows"
    assert {frozenset(line.data) for line in lines} == {frozenset({"message", "level", "timestamp"})}
    states = [event for event in told if event.name == "status"]
    assert states[0].data["status"] == "running"
    assert states[0].id == ""
    last = [event.name for event in told][-3:]
    assert last[0] == "status"
    assert last[-1] == "done"
    assert states[-1].data == {
        "id": uid,
        "status": "done",
        "processed_points": 1,
        "grid_points_count": 1,
        "results_count": 1,
        "error_count": 0,
        "download_available": True,
        "query_stats": {},
    }
    done = told[-1]
    assert done.id == f"{uid}:{len(lines) + 1}"
    assert (done.data["id"], done.data["status"], done.data["results_count"]) == (uid, "done", 1)
    assert done.data["duration_seconds"] >= 0


@pytest.mark.parametrize(("items", "status"), [([{"n": 0, "fail": "x"}], "failed"), (numbered(2), "cancelled")])
def test_a_job_that_did_not_succeed_ends_its_stream_with_done_too(
    owner: Owner, gate: Gate, items: list[dict[str, object]], status: str
) -> None:
    """`error` is for trouble of the stream alone."""
    if status == "failed":
        gate.open.set()
    uid = owner.create("techstack", items=items)["id"]
    if status == "cancelled":
        owner.caller.post(f"/api/jobs/{uid}/cancel")
    owner.ended(uid)
    told = follow(owner, uid)
    assert [event.name for event in told] == ["status", "done"]
    assert told[-1].data["status"] == status


def test_a_client_that_comes_back_misses_nothing(owner: Owner) -> None:
    """The lines behind the one it saw, by header or by parameter; nothing when it saw the end."""
    uid = owner.done("sort", items=numbered(3))["id"]
    assert [event.name for event in follow(owner, uid)] == ["status", "done"]
    again = follow(owner, uid, last=f"{uid}:1")
    assert [event.name for event in again] == ["status", "log", "log", "done"]
    assert [event.id for event in again if event.name == "log"] == [f"{uid}:2", f"{uid}:3"]
    assert follow(owner, uid, after="1") == again
    assert [event.name for event in follow(owner, uid, last=again[-1].id)] == ["status", "done"]
    assert [event.name for event in follow(owner, uid, last="j_another:1")] == ["status", "done"]


def test_more_lines_than_are_sent_at_once_all_arrive(owner: Owner, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, each once, and `done` behind them."""
    monkeypatch.setattr("app.services.row_jobs.watching.AT_ONCE", 7)
    gate.open.set()
    uid = owner.ended(owner.create("techstack", items=numbered(40, note="A sentence"))["id"])["id"]
    told = follow(owner, uid, after="0")
    seqs = [int(event.id.rpartition(":")[2]) for event in told if event.name == "log"]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 40
    assert told[-1].name == "done"


def test_a_stream_says_its_state_every_two_seconds(
    client: Client, owner: Owner, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    """A progress bar moves even when nothing is logged."""
    uid = running(owner, gate)
    streamed = pool.submit(follow, owner, uid)
    begun(streamed, client)
    with pytest.raises(TimeoutError):
        streamed.result(5.5)
    gate.open.set()
    assert [event.name for event in streamed.result(20)].count("status") in {4, 5}


def test_a_stream_ends_with_the_session(
    client: Client, owner: Owner, gate: Gate, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who signed out, or was suspended, sees nothing further."""
    monkeypatch.setattr(stream, "ADMIT_S", 0.2)
    uid = running(owner, gate)
    streamed = pool.submit(follow, owner, uid)
    begun(streamed, client)
    assert owner.caller.post("/api/auth/logout").status_code == 200
    end = streamed.result(20)[-1]
    assert (end.name, end.data["code"]) == ("error", "unauthorized")


def test_a_stream_ends_when_its_job_is_gone(client: Client, owner: Owner, gate: Gate, pool: ThreadPoolExecutor) -> None:
    """As with the account of its owner."""
    uid = running(owner, gate)
    streamed = pool.submit(follow, owner, uid)
    begun(streamed, client)
    with transaction(client.application.runtime.engine) as session:
        session.execute(delete(RowJob).where(RowJob.uid == uid))
    end = streamed.result(20)[-1]
    assert (end.name, end.data["code"]) == ("error", "not_found")


def test_a_stream_lasts_six_hours_at_most(
    client: Client, owner: Owner, gate: Gate, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that forgotten ones do not pile up."""
    assert stream.LONGEST_S == 6 * 3600
    monkeypatch.setattr(stream, "LONGEST_S", 0.5)
    end = pool.submit(follow, owner, running(owner, gate)).result(20)[-1]
    assert (end.name, end.data["code"]) == ("error", "stream_timeout")


def test_what_a_stream_held_is_given_back(client: Client, owner: Owner) -> None:
    """Or a user would have no streams left after ten jobs."""
    uid = owner.done("sort", items=numbered(1))["id"]
    for _ in range(12):
        follow(owner, uid)
    with transaction(client.application.runtime.engine, write=False) as session:
        assert session.query(RowJobStream).count() == 0


def test_an_id_that_is_none_is_refused(owner: Owner, refused: Refusals) -> None:
    """422 before the stream begins."""
    answer = owner.caller.get("/api/jobs/j_0123456789/stream", headers={"last-event-id": "x"})
    refused(answer, 422)
