"""The event parser reads what servers send, however the network cuts it."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway import sse

TEXTS = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=40)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def read(data: bytes, cuts: list[int] | None = None) -> list[sse.Event]:
    """Every event of a stream fed in pieces."""
    parser = sse.Parser()
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or [])})
    pieces = [data[start:stop] for start, stop in pairwise(bounds)]
    return [event for piece in pieces for event in parser.feed(piece)] + parser.end()


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))), ENDS, st.lists(st.integers(0, 5000)))
def test_events_survive_any_cut(events: list[tuple[str, list[str]]], end: str, cuts: list[int]) -> None:
    """A network cuts inside UTF-8 characters and inside CRLF; neither may cost or double an event."""
    lines = [[f"event: {name}", *(f"data: {line}" for line in data), "", ""] for name, data in events]
    stream = "".join(end.join(each) for each in lines).encode()
    expected = [(name or "message", "\n".join(data).encode()) for name, data in events]
    assert read(stream, cuts) == expected


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_any_bytes_read_alike_whole_and_cut(data: bytes, cuts: list[int]) -> None:
    """What a stream says never depends on how it was cut, even when it is nonsense."""
    assert read(data, cuts) == read(data)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data:{}\n\n", [("message", b"{}")]),
        (b"data:  two spaces\n\n", [("message", b" two spaces")]),
        (b": keep-alive\n\ndata: 1\n\n", [("message", b"1")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [("message", b"1")]),
        (b"id: 7\nretry: 10\ndata: 1\nother\n\n", [("message", b"1")]),
        (b"data\n\n", [("message", b"")]),
        (b"event: ping\n\ndata: 1\n\n", [("message", b"1")]),
        (b"data: [DONE]", [("message", b"[DONE]")]),
    ],
)
def test_every_form_of_the_standard_is_read(stream: bytes, events: list[sse.Event]) -> None:
    """Providers use all of these; a form unread is an answer lost."""
    assert read(stream) == events


def test_an_endless_event_is_refused() -> None:
    """A server that never ends its line must not fill our memory."""
    parser = sse.Parser(limit=100)
    with pytest.raises(sse.OverlongEventError):
        list(map(parser.feed, [b"data: 123456789"] * 20))


def test_an_event_of_endless_lines_is_refused() -> None:
    """The bound holds for many short lines as for one long one."""
    parser = sse.Parser(limit=100)
    with pytest.raises(sse.OverlongEventError):
        list(map(parser.feed, [b"data:\n"] * 200))


def test_a_long_stream_of_short_events_is_not_refused() -> None:
    """The bound is one event's, never the stream's."""
    parser = sse.Parser(limit=100)
    assert sum(len(parser.feed(b"data: 123456789\n\n")) for _ in range(50)) == 50


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.booleans()))
def test_what_we_encode_any_parser_reads_back(payload: dict[str, bool]) -> None:
    """Line ends inside texts must not break the frame."""
    [(name, data)] = read(sse.comment("a\nb") + sse.event("note", payload))
    assert (name, orjson.loads(data)) == ("note", payload)


def test_an_error_frame_has_the_envelope_clients_raise_on() -> None:
    """OpenAI's clients raise on a truthy `error`; anything else would look like success."""
    [(_, data)] = read(sse.error("gone", kind="provider_error", code="cut"))
    assert orjson.loads(data) == {"error": {"message": "gone", "type": "provider_error", "param": None, "code": "cut"}}


def test_the_stream_ends_with_done() -> None:
    """Clients stop reading at this payload."""
    assert read(sse.DONE) == [("message", b"[DONE]")]
