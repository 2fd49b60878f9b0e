"""A spool line's promise: it reads back exactly, and one that a crash cut or a disk altered is noticed."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.trace_record import TraceRecord, trace_id

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
labels = st.dictionaries(text, text, max_size=3)
records = st.builds(
    TraceRecord,
    id=text,
    created_at=st.integers(0, 2**53),
    request_id=text,
    operation=text,
    provider=text,
    model=text,
    status=st.sampled_from(["ok", "error", "cache_hit"]),
    parent_id=st.none() | text,
    error=st.none() | text,
    cost_nano=st.none() | st.integers(0, 2**62),
    tags=labels,
    details=st.dictionaries(text, text | st.lists(st.integers(0, 9)) | labels, max_size=3),
    request_body=st.none() | st.binary(max_size=40),
    response_body=st.none() | text.map(str.encode),
    service=text,
    http_status=st.integers(100, 599),
    stream=st.booleans(),
    attempts=st.integers(0, 9),
    duration_us=st.integers(0, 2**40),
    first_byte_us=st.none() | st.integers(0, 2**40),
    tokens_in=st.integers(0, 10**9),
    tokens_out=st.integers(0, 10**9),
    tokens_cached=st.integers(0, 10**9),
    tokens_reasoning=st.integers(0, 10**9),
    usage_source=st.sampled_from(["reported", "estimated"]),
    saved_nano=st.integers(0, 2**62),
    user_id=st.none() | st.integers(1, 2**53),
    key_id=st.none() | st.integers(1, 2**53),
    project=text,
    source=st.sampled_from(["real", "demo"]),
)


@given(records)
def test_a_line_reads_back_exactly(record: TraceRecord) -> None:
    """What a crash interrupted is settled later as if nothing had happened, bodies to the byte."""
    line = record.to_line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert TraceRecord.from_line(line) == TraceRecord.from_line(line[:-1]) == record


@given(records, st.data())
def test_a_torn_line_is_noticed(record: TraceRecord, data: st.DataObject) -> None:
    """Half a record must never be billed as a whole one."""
    line = record.to_line()[:-1]
    cut = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(ValueError, match=r"checksum|literal"):
        TraceRecord.from_line(line[:cut])


@given(records, st.data())
def test_an_altered_line_is_noticed(record: TraceRecord, data: st.DataObject) -> None:
    """A flipped bit must not become another amount."""
    line = bytearray(record.to_line()[:-1])
    at = data.draw(st.integers(9, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"checksum|literal"):
        TraceRecord.from_line(bytes(line))


def test_a_line_of_an_older_release_still_reads() -> None:
    """An upgrade must not lose the calls that were waiting in the spool."""
    record = TraceRecord("tr_1", 1, "r", "chat", "p", "m", "ok")
    line = record.to_line()
    shorter = line[9:-1].replace(b",{},{},null,null]", b"]")
    again = b"%08x %b" % (crc32(shorter), shorter)
    assert len(shorter) < len(line) - 10
    assert TraceRecord.from_line(again) == record


def test_ids_sort_by_the_time_they_were_made() -> None:
    """Random ids cost a page of the index each; a million traces later that is most of the work."""
    made = [trace_id() for _ in range(100)]
    assert [i[:15] for i in made] == sorted(i[:15] for i in made)
    assert len(set(made)) == 100
    assert all(len(i) == 35 for i in made)


def test_a_record_in_a_log_shows_nothing_a_user_wrote() -> None:
    """Prompts are for the trace store, not for whoever reads the log."""
    record = TraceRecord("tr_1", 1, "r", "chat", "p", "m", "ok", tags={"secret": "x"}, request_body=b"secret")
    assert "secret" not in repr(record)
