"""Framing: where a response ends, however its bytes are cut, and what is refused because two readers could differ."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.transport.framing import HEAD_LIMIT, MalformedError, Message

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
WHOLE = {
    "sized": OK + b"content-length: 5\r\n\r\nhello",
    "sized, odd spacing": OK + b"Content-Length:5  \r\nX-Empty:\r\n\r\nhello",
    "no reason": b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello",
    "chunked": CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    "chunked, leading zeros": CHUNKED + b"0005\r\nhello\r\n000\r\n\r\n",
    "chunked, extensions": CHUNKED + b'5;a=b ;c="d"\r\nhello\r\n0;e\r\n\r\n',
    "chunked, trailers": CHUNKED + b"5\r\nhello\r\n0\r\nx-sum: 1\r\ny:\r\n\r\n",
    "chunked, CRLF in data": CHUNKED + b"5\r\n\r\n0\r\n\r\n0\r\n\r\n",
    "early hints": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: a\r\n\r\n"
    + OK
    + b"content-length: 5\r\n\r\nhello",
}
BODIES = {"chunked, CRLF in data": b"\r\n0\r\n"}


def fed(*pieces: bytes) -> tuple[Message, bytes]:
    """A message after these pieces, and the body that was among them."""
    message = Message()
    return message, b"".join([message.feed(piece) for piece in pieces])


@pytest.mark.parametrize("name", WHOLE)
def test_a_response_may_be_cut_anywhere(name: str) -> None:
    """TCP cuts where it likes: two pieces at every place, and one byte at a time, give what the whole gives."""
    data, body = WHOLE[name], BODIES.get(name, b"hello")
    ways = [[data[:at], data[at:]] for at in range(1, len(data))]
    for pieces in [[data], *ways, [data[at : at + 1] for at in range(len(data))]]:
        message, found = fed(*pieces)
        assert (found, message.status, message.complete, message.reusable) == (body, 200, True, True)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_chunks_carry_any_bytes_through_any_cuts(chunks: list[bytes], cuts: list[int]) -> None:
    """Model output is arbitrary bytes to HTTP; no content may look like framing."""
    data = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    pieces = []
    for size in cuts:
        pieces.append(data[:size])
        data = data[size:]
    message, body = fed(*filter(None, [*pieces, data]))
    assert (body, message.complete, message.reusable) == (b"".join(chunks), True, True)


@given(st.sampled_from([b"", OK, CHUNKED]), st.lists(st.sampled_from([bytes([b]) for b in b"\r\n :;0aFgx\x00\xff"])))
def test_no_bytes_make_the_parser_fail_in_another_way(start: bytes, pieces: list[bytes]) -> None:
    """A hostile provider may send anything; the lane knows what to do with a ConnectionError, and with nothing else."""
    with suppress(ConnectionError):
        fed(start, *pieces)


AMBIGUOUS = {
    "a folded line": OK + b"x: a\r\n b\r\ncontent-length: 1\r\n\r\n",
    "both delimiters": OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
    "both, turned round": OK + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
    "two lengths": OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n",
    "one length twice": OK + b"content-length: 1\r\nContent-Length: 1\r\n\r\n",
    "a list of lengths": OK + b"content-length: 1, 1\r\n\r\n",
    "a signed length": OK + b"content-length: +1\r\n\r\n",
    "an empty length": OK + b"content-length: \r\n\r\n",
    "an absurd length": OK + b"content-length: 99999999999999999999\r\n\r\n",
    "another coding": OK + b"transfer-encoding: gzip\r\n\r\n",
    "two codings": OK + b"transfer-encoding: gzip, chunked\r\n\r\n",
    "chunked not last": OK + b"transfer-encoding: chunked, identity\r\n\r\n",
    "a hidden coding": OK + b"transfer-encoding: xchunked\r\n\r\n",
    "chunked twice": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    "lone LF": b"HTTP/1.1 200 OK\ncontent-length: 1\n\n\r\n\r\n",
    "lone LF in a field": OK + b"a: b\ncontent-length: 1\r\n\r\n",
    "lone CR": OK + b"a: b\rc\r\n\r\n",
    "NUL": OK + b"a: b\0c\r\n\r\n",
    "space before the colon": OK + b"content-length : 1\r\n\r\n",
    "a nameless field": OK + b": 1\r\n\r\n",
    "a line without colon": OK + b"content-length\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "no HTTP": b"ICY 200 OK\r\n\r\n",
    "a TLS alert": b"\x15\x03\x03\x00\x02\x02F",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status 600": b"HTTP/1.1 600 OK\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
    "blank lines first": b"\r\n\r\n" + OK,
    "size with prefix": CHUNKED + b"0x1\r\nz\r\n",
    "size with underscore": CHUNKED + b"1_0\r\nz\r\n",
    "size with sign": CHUNKED + b"+1\r\nz\r\n",
    "size with space": CHUNKED + b"1 \r\nz\r\n",
    "no size": CHUNKED + b"\r\nz\r\n",
    "an absurd size": CHUNKED + b"ffffffffffffffffff\r\nz\r\n",
    "size line ended by LF": CHUNKED + b"1\nz\r\n",
    "LF in an extension": CHUNKED + b"1;a\nb\r\nz\r\n",
    "chunk longer than said": CHUNKED + b"1\r\nzz\r\n",
    "a malformed trailer": CHUNKED + b"0\r\nx y: 1\r\n\r\n",
    "a folded trailer": CHUNKED + b"0\r\n x: 1\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_two_readers_could_frame_differently_is_refused(name: str) -> None:
    """A response read differently here than at the provider's proxy hands one caller another caller's answer."""
    with pytest.raises(MalformedError):
        fed(AMBIGUOUS[name])
    with pytest.raises(MalformedError):
        fed(*[bytes([byte]) for byte in AMBIGUOUS[name]])


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (OK, True),
        (OK + b"connection: Keep-Alive\r\n", True),
        (OK + b"connection: close\r\n", False),
        (OK + b"connection: keep-alive, close\r\n", False),
        (OK + b"connection: keep-alive\r\nconnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
    ],
)
def test_a_connection_is_used_again_only_when_the_provider_means_to(head: bytes, reusable: bool) -> None:
    """Asking on a connection that is about to close costs a repetition at best."""
    message, _ = fed(head + b"content-length: 2\r\n\r\nok")
    assert (message.complete, message.reusable) == (True, reusable)


@pytest.mark.parametrize("name", WHOLE)
def test_bytes_after_the_end_spoil_the_connection_and_not_the_answer(name: str) -> None:
    """They would be read as the answer to the next request, which may be another caller's."""
    for pieces in ([WHOLE[name] + b"HTTP/1.1"], [WHOLE[name], b"H"]):
        message, body = fed(*pieces)
        assert (body, message.complete, message.reusable) == (BODIES.get(name, b"hello"), True, False)


def test_a_body_without_length_ends_with_the_connection() -> None:
    """HTTP/1.0 proxies still answer so; and any other body that ends with the connection was cut."""
    message, body = fed(OK + b"\r\n", b"some", b" text")
    assert (body, message.complete, message.reusable, message.end()) == (b"some text", False, False, True)
    for cut in (b"", b"HTTP/1.1 2", OK + b"content-length: 9\r\n\r\nhell", CHUNKED + b"5\r\nhello\r\n"):
        assert not (fed(cut)[0] if cut else Message()).end()


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_a_status_without_body_is_complete_with_its_head(status: bytes) -> None:
    """Waiting for a body that never comes would hold the call until its deadline."""
    message, _ = fed(b"HTTP/1.1 " + status + b" X\r\n\r\n")
    assert message.complete


@pytest.mark.parametrize("field", [b"x: " + b"a" * HEAD_LIMIT + b"\r\n", b"x: 1\r\n" * (HEAD_LIMIT // 6)])
def test_a_head_is_at_most_64_kib(field: bytes) -> None:
    """A head that never ends must not fill the memory; interim responses count into the same room."""
    with pytest.raises(MalformedError, match="64 KiB"):
        fed(OK, *[field[at : at + 4096] for at in range(0, len(field), 4096)])
    hints = b"HTTP/1.1 103 Hints\r\nx: " + b"a" * 1000 + b"\r\n\r\n"
    with pytest.raises(MalformedError, match="64 KiB"):
        fed(*[hints] * 70)


def test_trailers_and_size_lines_are_bounded() -> None:
    """Both are read whole before they count for anything."""
    with pytest.raises(MalformedError):
        fed(CHUNKED, b"0\r\n", *[b"x: " + b"a" * 1000 + b"\r\n"] * 70)
    with pytest.raises(MalformedError):
        fed(CHUNKED, b"1;", *[b"a" * 1000] * 5)


def test_field_names_are_lower_case_and_repeated_fields_are_joined() -> None:
    """The lane asks for `retry-after`, however the provider writes it."""
    message, _ = fed(OK + b"Retry-After: 3\r\nX-A: 1\r\nx-a:\t2 \r\n\r\n")
    assert message.headers() == {"retry-after": "3", "x-a": "1, 2"}
