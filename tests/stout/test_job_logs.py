"""What jobs write: stored once by number, listed in order, and followed live by whoever may, from anywhere in it.

Exercises `append_job_logs`, `list_job_logs` and `stream_job_logs`.
"""

from __future__ import annotations

import socket
import statistics
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import requests
from sqlalchemy import delete

from app.services.box_jobs import logs
from app.services.box_jobs.watch import watch_of
from models.base import transaction
from models.boxes import AccessGrant
from support.box_jobs import Bench, Remote
from support.callers import Caller
from support.envelopes import Refusals
from support.events import Event, read
from support.servers import Server

Json = dict[str, Any]


def chunk(sequence: int, line: str = "x", stream: str = "stdout", **more: Any) -> Json:
    """A line as a box sends it."""
    return {"sequenceNum": sequence, "stream": stream, "line": line} | more


def followed(bench: Bench, job_id: str, **options: Any) -> list[Event]:
    """A whole stream, to its end."""
    answer = bench.owner.get(f"{bench.jobs}/{job_id}/logs/stream", **options)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    return list(read(answer.text.splitlines()))


def numbers(events: list[Event]) -> list[int]:
    """The numbers of the lines among events."""
    return [event.data["sequenceNum"] for event in events if event.name == "log"]


def test_lines_are_stored_once(bench: Bench) -> None:
    """Repeats are passed over, within a request and between them; the receipt says what was new."""
    job_id = bench.running()
    assert bench.tell(job_id, "logs", chunks=[chunk(0, "a"), chunk(1, "b"), chunk(1, "again")]).json() == {
        "accepted": 2,
        "lastSequenceNum": 1,
    }
    assert bench.tell(job_id, "logs", chunks=[chunk(1, "c"), chunk(2, "d")]).json()["accepted"] == 1
    items = bench.owner.get(f"{bench.jobs}/{job_id}/logs").json()["items"]
    assert [(line["sequenceNum"], line["line"]) for line in items] == [(0, "a"), (1, "b"), (2, "d")]


def test_twenty_senders_of_the_same_lines_store_them_once(bench: Bench) -> None:
    """A box that retries may overlap with itself."""
    job_id = bench.running()
    chunks = [chunk(n) for n in range(50)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: bench.tell(job_id, "logs", chunks=chunks), range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert sum(answer.json()["accepted"] for answer in answers) == 50
    assert bench.owner.get(f"{bench.jobs}/{job_id}/logs").json()["total"] == 50


def test_numbers_may_be_left_out_and_come_late(bench: Bench) -> None:
    """The list is in the box's order whatever the order of arrival."""
    job_id = bench.running()
    bench.tell(job_id, "logs", chunks=[chunk(9), chunk(4)])
    assert bench.tell(job_id, "logs", chunks=[chunk(7)]).json() == {"accepted": 1, "lastSequenceNum": 9}
    items = bench.owner.get(f"{bench.jobs}/{job_id}/logs").json()["items"]
    assert [line["sequenceNum"] for line in items] == [4, 7, 9]
    assert bench.look(job_id)["lastSequenceNum"] == 9


def test_logs_are_narrowed_and_paged(bench: Bench) -> None:
    """By what was seen, by stream, and page by page."""
    job_id = bench.running()
    bench.tell(job_id, "logs", chunks=[chunk(n, stream=("stdout", "stderr", "output")[n % 3]) for n in range(9)])

    def found(**params: Any) -> list[int]:
        answer = bench.ada.get(f"{bench.jobs}/{job_id}/logs", params=params).json()
        return [line["sequenceNum"] for line in answer["items"]]

    assert found(after=5) == [6, 7, 8]
    assert found(stream="stderr") == [1, 4, 7]
    assert found(stream="output", after=2) == [5, 8]
    assert found(limit=4, page=3) == [8]


def test_a_line_keeps_its_time(bench: Bench) -> None:
    """As the box told it, in UTC."""
    job_id = bench.running()
    bench.tell(job_id, "logs", chunks=[chunk(0, timestamp="2026-05-19T12:00:00.5+02:00")])
    [line] = bench.owner.get(f"{bench.jobs}/{job_id}/logs").json()["items"]
    assert line["timestamp"] == "2026-05-19T10:00:00.500Z"


@pytest.mark.parametrize("line", ["x" * (logs.LONGEST_LINE + 1), "é" * (logs.LONGEST_LINE // 2 + 1)])
def test_a_huge_line_is_cut_with_a_notice(bench: Bench, line: str) -> None:
    """At a megabyte of UTF-8, never inside a character."""
    job_id = bench.running()
    assert bench.say(job_id, line, "x" * logs.LONGEST_LINE).status_code == 202
    first, second = bench.owner.get(f"{bench.jobs}/{job_id}/logs").json()["items"]
    kept, _, notice = first["line"].partition(" [")
    assert kept == line[: len(kept)]
    assert len(kept.encode()) == logs.LONGEST_LINE
    assert (first["truncated"], notice) == (True, f"truncated: the line has {len(line.encode())} bytes]")
    assert (second["truncated"], len(second["line"])) == (False, logs.LONGEST_LINE)


@pytest.mark.parametrize(
    "chunks", [[], [chunk(n) for n in range(501)], [chunk(-1)], [chunk(0, stream="stdin")], [chunk(0, "\x00")]]
)
def test_what_is_no_line_is_refused(bench: Bench, refused: Refusals, chunks: list[Json]) -> None:
    """And nothing of it is stored."""
    job_id = bench.running()
    refused(bench.tell(job_id, "logs", chunks=chunks), 400)
    assert "lastSequenceNum" not in bench.look(job_id)


def test_no_line_comes_after_the_end(bench: Bench, refused: Refusals) -> None:
    """Who read the end has read it all."""
    job_id = bench.running()
    bench.say(job_id, "a")
    bench.tell(job_id, "result", exitCode=0)
    assert refused(bench.say(job_id, "b", start=1), 409)["status"] == "completed"
    refused(bench.say(bench.submit()["id"], "a"), 404)


def test_a_finished_log_is_replayed_from_the_start(bench: Bench) -> None:
    """All lines in order with their numbers as ids, then the state, then the end, then silence."""
    job_id = bench.running()
    bench.say(job_id, "a", "b")
    bench.tell(job_id, "result", exitCode=4)
    events = followed(bench, job_id)
    assert [(event.name, event.id) for event in events] == [("log", "0"), ("log", "1"), ("status", ""), ("end", "")]
    [line] = bench.owner.get(f"{bench.jobs}/{job_id}/logs", params={"limit": 1}).json()["items"]
    assert events[0].data == line
    assert (events[2].data["jobId"], events[2].data["status"]) == (job_id, "failed")
    assert events[3].data == {"status": "failed", "exitCode": 4}


def test_a_stream_goes_on_where_it_was_left(bench: Bench) -> None:
    """`Last-Event-ID: 5` resumes at 6; so does `after`; the higher of both counts."""
    job_id = bench.running()
    bench.say(job_id, *"abcdefghij")
    bench.tell(job_id, "result", exitCode=0)
    assert numbers(followed(bench, job_id, headers={"last-event-id": "5"})) == [6, 7, 8, 9]
    assert numbers(followed(bench, job_id, params={"after": 7})) == [8, 9]
    assert numbers(followed(bench, job_id, params={"after": 2}, headers={"last-event-id": "7"})) == [8, 9]
    assert numbers(followed(bench, job_id, params={"after": 99})) == []


def test_a_long_log_is_replayed_whole(bench: Bench) -> None:
    """Page after page, by lines and by bytes."""
    job_id = bench.running()
    for start in range(0, 1500, 500):
        bench.say(job_id, *(f"line {start + n}" for n in range(500)), start=start)
    for number in range(1500, 1504):
        bench.say(job_id, "y" * 700_000, start=number)
    bench.tell(job_id, "result", exitCode=0)
    assert numbers(followed(bench, job_id)) == list(range(1504))


def test_a_stream_is_for_those_who_may_see_the_job(bench: Bench, refused: Refusals) -> None:
    """403 without access to the box, 401 without a token; the token may be in the query, for browsers."""
    job_id = bench.running()
    bench.tell(job_id, "result", exitCode=0)
    path = f"{bench.jobs}/{job_id}/logs/stream"
    refused(bench.bob.get(path), 403)
    refused(bench.client.anonymous.get(path), 401)
    refused(bench.client.anonymous.get(path, params={"access_token": "x.y.z"}), 401)
    token = bench.ada.headers["authorization"].removeprefix("Bearer ")
    assert bench.client.anonymous.get(path, params={"access_token": token}).status_code == 200
    refused(bench.client.anonymous.get(f"{bench.jobs}/{job_id}", params={"access_token": token}), 401)


class Watching:
    """A stream read in a thread of its own, against a real server."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.events: list[Event] = []
        self.answer = requests.get(url, headers=headers, stream=True, timeout=60)
        assert self.answer.status_code == 200, self.answer.text
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            for event in read(self.answer.iter_lines(decode_unicode=True)):
                self.events.append(event)
        except (requests.RequestException, AttributeError):
            pass  # the test closed it

    def until(self, count: int, within: float = 15) -> list[int]:
        """The numbers of the lines, once there are so many."""
        deadline = time.monotonic() + within
        while len(numbers(self.events)) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return numbers(self.events)

    def close(self) -> None:
        """Hang up."""
        self.answer.close()


def watching(bench: Bench, server: Server, job_id: str, **headers: str) -> Watching:
    """Somebody who follows a job."""
    url = f"{server.base_url}{bench.jobs}/{job_id}/logs/stream"
    return Watching(url, bench.owner.headers | headers)


def in_background(pool: ThreadPoolExecutor, bench: Bench, job_id: str, caller: Caller) -> Future[list[Event]]:
    """A stream of the application in this process, read to its end; followed before this returns."""
    watch = watch_of(bench.client.application.runtime)
    known = watch.listeners

    def whole() -> list[Event]:
        return list(read(caller.get(f"{bench.jobs}/{job_id}/logs/stream").text.splitlines()))

    reading = pool.submit(whole)
    deadline = time.monotonic() + 10
    while watch.listeners == known and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)
    return reading


def test_a_late_line_takes_nobody_back(bench: Bench) -> None:
    """It is sent, but without an id: a client that reconnects resumes after the highest line it saw."""
    job_id = bench.running()
    with ThreadPoolExecutor(1) as pool:
        reading = in_background(pool, bench, job_id, bench.owner)
        for number in (0, 5, 3, 6):
            bench.say(job_id, "x", start=number)
            time.sleep(0.3)
        bench.tell(job_id, "result", exitCode=0)
        events = reading.result(20)
    lines = [(event.data["sequenceNum"], event.id) for event in events if event.name == "log"]
    assert lines == [(0, "0"), (5, "5"), (3, ""), (6, "6")]


def test_a_stream_ends_with_the_right_to_follow_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Access ends at once for requests, and at the next sign of life for streams."""
    monkeypatch.setattr("app.services.box_jobs.stream.BEAT_S", 0.2)
    job_id = bench.running()
    bench.say(job_id, "seen")
    with ThreadPoolExecutor(2) as pool:
        ada = in_background(pool, bench, job_id, bench.ada)
        owner = in_background(pool, bench, job_id, bench.owner)
        with transaction(bench.engine) as session:
            session.execute(delete(AccessGrant))
        assert [event.name for event in ada.result(10)] == ["status", "log"]
        assert not owner.done()
        bench.tell(job_id, "result", exitCode=0)
        assert owner.result(10)[-1].name == "end"


def test_lines_reach_whoever_follows_on_any_worker(serve: Any) -> None:
    """In order, as they come, with every state; a reader who was cut off goes on where they were."""
    server = serve(rate_limits="off", workers=2)
    remote = Remote(server)
    bench = Bench(remote)
    job_id = bench.submit()["id"]
    readers = [watching(bench, server, job_id) for _ in range(6)]
    bench.claim()
    time.sleep(0.7)
    bench.tell(job_id, "ack")
    time.sleep(0.7)
    bench.say(job_id, "a", "b")
    assert [reader.until(2) for reader in readers] == [[0, 1]] * 6
    readers[0].close()
    bench.say(job_id, "c", start=2)
    again = watching(bench, server, job_id, **{"last-event-id": "1"})
    assert again.until(1) == [2]
    bench.tell(job_id, "result", exitCode=0)
    for reader in [*readers[1:], again]:
        reader.thread.join(10)
        assert reader.events[-1].data == {"status": "completed", "exitCode": 0}
    told = [event.data["status"] for event in readers[1].events if event.name == "status"]
    assert told == ["queued", "dispatching", "running", "completed"]
    remote.close()


def test_a_server_that_stops_lets_its_streams_end(serve: Any) -> None:
    """It does not wait for a job to be over."""
    server = serve(rate_limits="off")
    remote = Remote(server)
    bench = Bench(remote)
    reader = watching(bench, server, bench.running())
    began = time.monotonic()
    remote.close()
    assert server.stop() == 0
    assert time.monotonic() - began < 10
    reader.thread.join(5)
    assert not reader.thread.is_alive()


def took(bench: Bench, job_id: str) -> float:
    """The median time of a plain request, in seconds."""
    times = []
    for _ in range(40):
        began = time.perf_counter()
        assert bench.owner.get(f"{bench.jobs}/{job_id}").status_code == 200
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def test_two_hundred_open_streams_slow_nobody(serve: Any) -> None:
    """A stream is a sleeping task: two hundred followers cost plain requests next to nothing, and all get each line."""
    server = serve(rate_limits="off")
    remote = Remote(server)
    bench = Bench(remote)
    job_id = bench.running()
    alone = took(bench, job_id)
    head = f"GET {bench.jobs}/{job_id}/logs/stream HTTP/1.1\r\nHost: x\r\n"
    head += f"Authorization: {bench.owner.headers['authorization']}\r\n\r\n"
    streams = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(200)]
    for stream in streams:
        stream.sendall(head.encode())
    received = [stream.recv(4096) for stream in streams]
    assert {text.split(b" ")[1] for text in received} == {b"200"}
    crowded = took(bench, job_id)
    bench.say(job_id, "for everybody")
    for stream in streams:
        held = b""
        while b"for everybody" not in held:
            held += stream.recv(4096)
        stream.close()
    remote.close()
    assert crowded < 3 * alone + 0.01, f"{crowded * 1000:.1f} ms instead of {alone * 1000:.1f} ms"
