"""Streams and jobs of the real server: many at once, at several workers, and when it stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.services.row_jobs import logs
from app.services.row_jobs.logs import Line
from app.settings import Settings
from models.base import connect, transaction
from models.row_jobs import RowJob
from support.remote import Remote, signed_in
from support.row_jobs import events, numbered
from support.servers import Server, _family

Serve = Callable[..., Server]


@pytest.fixture
def waiting(serve: Serve) -> Iterator[Server]:
    """A server that accepts jobs and leaves them to others, so that they stay pending."""
    yield serve(rate_limits="off", engine="off")  # noqa: PT022 (serve stops it)


def test_a_user_has_ten_streams(waiting: Server) -> None:
    """The eleventh is refused with 429, until one of them is closed; others are not counted with them."""
    somebody, other = signed_in(waiting), signed_in(waiting, 1)
    uid = somebody.create("sort", items=numbered(1))
    with ExitStack() as opened:
        first = opened.enter_context(somebody.stream(uid))
        for _ in range(9):
            assert opened.enter_context(somebody.stream(uid)).status_code == 200
        refused = somebody.stream(uid)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        with other.stream(other.create("sort", items=numbered(1))) as theirs:
            assert theirs.status_code == 200
        first.close()
        deadline = time.monotonic() + 10
        while (again := opened.enter_context(somebody.stream(uid))).status_code == 429:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert again.status_code == 200


def test_two_hundred_streams_keep_nobody_waiting(waiting: Server) -> None:
    """A plain request beside them takes milliseconds: they share one look at the database."""
    people = [signed_in(waiting, number) for number in range(20)]
    with ExitStack() as opened:
        for somebody in people:
            uid = somebody.create("sort", items=numbered(1))
            for _ in range(10):
                assert opened.enter_context(somebody.stream(uid)).status_code == 200
        took = sorted(timed(people[0]) for _ in range(200))
        assert took[100] < 0.02, f"median {took[100] * 1000:.1f} ms, worst {took[-1] * 1000:.1f} ms"


def timed(somebody: Remote) -> float:
    """Seconds that a plain request takes."""
    began = time.perf_counter()
    assert somebody.request("GET", "/api/modules-registry/sort").ok
    return time.perf_counter() - began


def test_a_line_arrives_within_half_a_second(waiting: Server) -> None:
    """Whichever process wrote it; a second is granted to a slow machine."""
    somebody = signed_in(waiting)
    uid = somebody.create("sort", items=numbered(1))
    engine = connect(Settings(data=waiting.data).database)
    with somebody.stream(uid) as stream:
        lines = stream.iter_lines(chunk_size=1)
        next(line for line in lines if line == b"event: status")
        for number in range(3):
            with transaction(engine) as session:
                job = session.query(RowJob).filter_by(uid=uid).one()
                logs.append(job, [Line("info", f"Sentence {number}")])
            began = time.monotonic()
            next(line for line in lines if f"Sentence {number}".encode() in line)
            assert time.monotonic() - began < 1.0
    engine.dispose()


def test_an_open_stream_does_not_keep_the_server_from_stopping(waiting: Server) -> None:
    """It ends by itself, and the client comes back elsewhere."""
    somebody = signed_in(waiting)
    with somebody.stream(somebody.create("sort", items=numbered(1))) as stream:
        lines = stream.iter_lines(chunk_size=1)
        next(line for line in lines if line == b"event: status")
        began = time.monotonic()
        waiting.stop()
        assert time.monotonic() - began < 15
        assert b"event: done" not in list(lines)


def test_any_worker_tells_of_any_job(serve: Serve) -> None:
    """Progress is in the database: streams at either worker end with the job, whichever carried it out."""
    server = serve(rate_limits="off", workers=2)
    somebody = signed_in(server)
    for _ in range(4):
        uid = somebody.create("filter", items=numbered(50))
        with somebody.stream(uid) as stream:
            told = list(events(stream.text))
        assert told[-1].name == "done"
        assert told[-1].data["status"] == "done"
        assert somebody.request("GET", f"/api/jobs/{uid}/items").json()["total"] == 50


POI = {
    "nom": "Boulangerie du Port et de la Mer",
    "telephone": "02 98 00 00 00",
    "email": "contact@boulangerie-du-port.example",
    "site_web": "https://www.boulangerie-du-port.example/accueil",
    "adresse": "12, quai de la Douane",
    "ville": "Brest",
    "code_postal": "29200",
    "lien_google_maps": "https://maps.example/place/0123456789abcdef0123456789abcdef",
    "category": "Boulangerie",
}


def test_ten_thousand_rows_stay_within_two_hundred_megabytes(serve: Serve) -> None:
    """Through a filter, a sort and a workbook, the worker's peak included."""
    server = serve(rate_limits="off", preloaded=False)
    somebody = signed_in(server)
    rows = [POI | {"n": n, "note": n % 50 / 10} for n in range(10_000)]
    filtered = somebody.ended(somebody.create("filter", items=rows, require_phone=True, rating_min=1))
    assert filtered["results_count"] == 8000
    uid = somebody.create("sort", items=rows, sort_by="note")
    assert somebody.ended(uid)["results_count"] == 10_000
    chained = somebody.ended(somebody.create("sort", source_job_id=uid, sort_by="completeness"))
    for format_ in ("xlsx", "csv", "json"):
        file = somebody.request("GET", f"/api/jobs/{chained['id']}/download", params={"format": format_})
        assert file.status_code == 200
        assert int(file.headers["content-length"]) == len(file.content) > 100_000
    for query in ({"sort": "-note"}, {"search": "brest"}):
        assert somebody.request("GET", f"/api/jobs/{uid}/items", params=query).json()["total"] == 10_000
    assert peak_mb(server) < 200


def peak_mb(server: Server) -> float:
    """The most memory that any process of the server ever held."""
    peaks = []
    for pid in _family(server.pid):
        status = Path(f"/proc/{pid}/status").read_text()
        peaks += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    return max(peaks)
