"""The spool and its recorder: whatever crashes between them, each call is stored once."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.segment import BLOCK_BYTES
from app.gateway.spool import LOOK_S, Spool
from app.services.recorder import STATUS, Recorder, read_status
from app.services.trace_record import TraceRecord


class Store:
    """A database that keeps each trace once, and may refuse."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.asked = 0
        self.refusing = False

    def __call__(self, records: Sequence[TraceRecord]) -> int:
        """Store; how many were new."""
        if self.refusing:
            raise ConnectionError("away")
        self.asked += len(records)
        fresh = [r.id for r in records if r.id not in self.ids]
        self.ids += fresh
        return len(fresh)


def call(n: int, **fields: object) -> TraceRecord:
    """A finished call."""
    return TraceRecord(f"tr_{n}", n, "r", "chat.completion", "openai", "m", "ok", **fields)  # type: ignore[arg-type]


def numbers(count: int) -> list[str]:
    """The ids of that many calls."""
    return [f"tr_{n}" for n in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A spool folder."""
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    """An open spool of small segments."""
    opened = Spool(folder, segment_bytes=1000)
    opened.open()
    yield opened
    opened.close()


def test_calls_are_stored_across_segments(spool: Spool, folder: Path) -> None:
    """A full segment is closed, recorded and removed; the open one stays."""
    store = Store()
    recorder = Recorder(folder, store)
    for n in range(50):
        spool.append(call(n))
        recorder.sweep() if n % 7 == 0 else None
    recorder.sweep()
    assert sorted(store.ids) == sorted(numbers(50))
    assert len(list(folder.glob("*.spool"))) == 1


@given(st.lists(st.sampled_from([0, 1, 200, 4096, BLOCK_BYTES - 700, BLOCK_BYTES, 3 * BLOCK_BYTES + 1]), max_size=8))
def test_a_line_of_any_size_is_taken(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    """One that crosses a page, a block, or is longer than several of them; room that was not needed is given back."""
    folder, store = tmp_path_factory.mktemp("sizes"), Store()
    spool, recorder = Spool(folder), Recorder(folder, store)
    spool.open()
    for n, size in enumerate(sizes):
        spool.append(call(n, response_body=b"x" * size))
    recorder.sweep()
    assert store.ids == numbers(len(sizes))
    (path,) = folder.glob("*.spool")
    spool.close()
    assert path.stat().st_size == sum(len(call(n, response_body=b"x" * size).to_line()) for n, size in enumerate(sizes))


def test_a_recorder_beside_a_busy_writer_takes_every_call_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It never reads a line that is being copied in, nor takes room for lines."""
    store, written = Store(), threading.Event()
    recorder = Recorder(folder, store)
    spool = Spool(folder, segment_bytes=2 * BLOCK_BYTES)
    spool.open()

    def record() -> None:
        while not written.is_set():
            recorder.sweep()

    reader = threading.Thread(target=record)
    reader.start()
    for n in range(2_000):
        spool.append(call(n, response_body=b"x" * (n % 900)))
    written.set()
    reader.join()
    recorder.sweep()
    assert (sorted(store.ids), store.asked) == (sorted(numbers(2_000)), 2_000)
    assert recorder._backlog() == 0
    spool.close()
    assert not caplog.messages


def test_a_segment_that_cannot_be_cut_is_complete_all_the_same(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its lock falls; what is left of its room is no torn line."""
    monkeypatch.setattr(os, "ftruncate", refuse)
    for n in range(50):
        spool.append(call(n))
    store = Store()
    Recorder(folder, store).sweep()
    assert (sorted(store.ids), spool.waiting, caplog.messages) == (sorted(numbers(50)), 0, [])
    assert len(list(folder.glob("*.spool"))) == 1


def test_a_database_away_loses_nothing(spool: Spool, folder: Path) -> None:
    """And the recorder says so, until it is back."""
    store = Store()
    recorder = Recorder(folder, store)
    store.refusing = True
    for n in range(30):
        spool.append(call(n))
    recorder.sweep()
    assert "does not take traces (ConnectionError)" in read_status(folder).trouble
    assert read_status(folder).backlog_bytes == sum(len(call(n).to_line()) for n in range(30))
    store.refusing = False
    recorder._spoke = 0.0
    recorder.sweep()
    assert (sorted(store.ids), read_status(folder).trouble) == (sorted(numbers(30)), "")


def test_a_recorder_that_died_is_replayed_without_harm(spool: Spool, folder: Path) -> None:
    """The next one begins at the first line: what was stored is sent again and passed over."""
    store = Store()
    for n in range(5):
        spool.append(call(n))
    Recorder(folder, store).sweep()
    spool.append(call(5))
    Recorder(folder, store).sweep()
    assert (store.ids, store.asked) == (numbers(6), 11)


@given(st.integers(0, 400), st.lists(st.binary(max_size=40), max_size=3))
def test_a_torn_line_costs_only_itself(tmp_path_factory: pytest.TempPathFactory, cut: int, noise: list[bytes]) -> None:
    """A crash in the middle of a write: every whole line before and after is stored."""
    folder = tmp_path_factory.mktemp("torn")
    lines = [call(n, response_body=bytes(range(256))).to_line() for n in range(3)]
    torn = lines[1][: min(cut, len(lines[1]) - 2)]
    rest = b"".join(part.replace(b"\n", b"") + b"\n" for part in noise)
    (folder / "1-a.spool").write_bytes(lines[0] + torn.replace(b"\n", b"") + b"\n" + rest + lines[2])
    store = Store()
    Recorder(folder, store).sweep()
    assert store.ids == ["tr_0", "tr_2"]
    assert list(folder.glob("*.spool")) == []


def test_a_line_still_being_written_is_waited_for(folder: Path) -> None:
    """Half a line of a living writer is not torn."""
    folder.mkdir()
    path, store = folder / "1-a.spool", Store()
    recorder = Recorder(folder, store)
    line = call(0).to_line()
    with path.open("wb", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line[:30])
        recorder.sweep()
        assert store.ids == []
        file.write(line[30:])
        recorder.sweep()
        assert (store.ids, path.exists()) == (["tr_0"], True)
    recorder.sweep()
    assert not path.exists()


def test_any_call_survives_its_line() -> None:
    """Bodies are bytes, cut anywhere; text may be anything but half a character."""

    @given(st.binary(), st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.integers(-(2**63), 2**63 - 1))
    def survives(body: bytes, error: str, cost: int | None) -> None:
        record = call(0, request_body=body, error=error, cost_nano=cost, tags={error: "x"})
        assert TraceRecord.from_line(record.to_line()) == record

    survives()


def test_two_recorders_take_turns(spool: Spool, folder: Path) -> None:
    """One works, the other waits, and takes over within a second when the first ends."""
    first, second = Store(), Store()
    stops = [threading.Event(), threading.Event()]
    threads = [
        threading.Thread(target=Recorder(folder, s).run, args=(e,)) for s, e in zip((first, second), stops, strict=True)
    ]
    threads[0].start()
    until((folder / STATUS).exists)
    threads[1].start()
    spool.append(call(0))
    until(lambda: first.ids == ["tr_0"])
    assert second.ids == []
    stops[0].set()
    threads[0].join()
    spool.append(call(1))
    until(lambda: "tr_1" in second.ids)
    stops[1].set()
    threads[1].join()
    assert first.ids == ["tr_0"]


def until(true: object, within: float = 3.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + within
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _write_and_die(folder: Path) -> None:
    spool = Spool(folder)
    spool.open()
    for n in range(100):
        spool.append(call(n))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_writer_killed_leaves_everything_it_finished(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What `append` returned from is stored, and the dead writer's segment removed; its unused room is no torn line."""
    process = multiprocessing.get_context("fork").Process(target=_write_and_die, args=(folder,))
    process.start()
    process.join()
    store = Store()
    Recorder(folder, store).sweep()
    assert (store.ids, list(folder.glob("*.spool")), caplog.messages) == (numbers(100), [], [])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_refuses_is_waited_for(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Even when it gives half a block first: nothing is lost, nothing twice, and memory is bounded."""
    write, room = os.pwrite, [300]

    def small(fd: int, data: bytes, at: int) -> int:
        if room[0] <= 0:
            raise OSError(number, os.strerror(number))
        taken = write(fd, data[: room[0]], at)
        room[0] -= taken
        return taken

    monkeypatch.setattr(os, "pwrite", small)
    for n in range(20):
        spool.append(call(n))
    assert spool.waiting > 10
    assert os.strerror(number) in spool.disk_error
    room[0] = 10**9
    spool.retry()
    assert (spool.waiting, spool.disk_error) == (0, "")
    store = Store()
    Recorder(folder, store).sweep()
    assert sorted(store.ids) == sorted(numbers(20))


def refuse(*_: object) -> int:
    """What a full disk says."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_waits_for_the_disk_is_bounded(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, and are counted."""
    monkeypatch.setattr("app.gateway.spool.MOST_HELD", 10)
    monkeypatch.setattr(os, "pwrite", refuse)
    for n in range(15):
        spool.append(call(n))
    assert (spool.waiting, spool.lost) == (10, 5)


def test_a_folder_that_vanished_is_made_again(spool: Spool, folder: Path) -> None:
    """Lines must not go on into a file that no longer has a name; those of the last moment are written once more."""
    spool.append(call(0))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    spool.append(call(1))
    time.sleep(LOOK_S)
    spool.retry()
    store = Store()
    Recorder(folder, store).sweep()
    assert store.ids == ["tr_0", "tr_1"]


def test_a_recorder_waits_for_a_folder_it_can_use(folder: Path) -> None:
    """Whoever repairs the disk at night must not have to restart the server too."""
    folder.write_text("in the way")
    store, stop = Store(), threading.Event()
    thread = threading.Thread(target=Recorder(folder, store).run, args=(stop,))
    thread.start()
    time.sleep(0.2)
    folder.unlink()
    writer = Spool(folder)
    writer.open()
    writer.append(call(0))
    deadline = time.monotonic() + 5
    while not store.ids and time.monotonic() < deadline:
        time.sleep(0.02)
    writer.close()
    stop.set()
    thread.join()
    assert store.ids == ["tr_0"]
