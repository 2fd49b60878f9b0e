"""Requests as bytes: what a URL and headers become, and what is never sent."""

from __future__ import annotations

import pytest

from app.gateway.transport.origins import Origin, locate, render
from app.gateway.wire import NotConnectedError, Outgoing


@pytest.mark.parametrize(
    ("url", "origin", "first_lines"),
    [
        ("http://a.test/v1/x", ("http", "a.test", 80), b"POST /v1/x HTTP/1.1\r\nhost: a.test\r\n"),
        ("https://A.test./v1?a=b%20c", ("https", "a.test", 443), b"POST /v1?a=b%20c HTTP/1.1\r\nhost: a.test\r\n"),
        ("https://a.test:8443", ("https", "a.test", 8443), b"POST / HTTP/1.1\r\nhost: a.test:8443\r\n"),
        ("http://a.test:443/", ("http", "a.test", 443), b"POST / HTTP/1.1\r\nhost: a.test:443\r\n"),
        ("http://[::1]:8080/x", ("http", "::1", 8080), b"POST /x HTTP/1.1\r\nhost: [::1]:8080\r\n"),
        ("http://127.0.0.1/x", ("http", "127.0.0.1", 80), b"POST /x HTTP/1.1\r\nhost: 127.0.0.1\r\n"),
    ],
)
def test_a_url_names_an_origin_and_a_target(url: str, origin: tuple[str, str, int], first_lines: bytes) -> None:
    """Host carries the port only where it is not the scheme's own (RFC 9110 §7.2): some providers sign it."""
    assert locate(url) == (Origin(*origin), first_lines)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.test/",
        "//a.test/",
        "http://",
        "http:///x",
        "http://a.test:0/",
        "http://a.test:99999/",
        "http://a.test:x/",
        "http://user:secret@a.test/",
        "http://a.test/ x",
        "http://a.test/\r\nx: y",
        "http://a.test\\@b.test/",
        "http://ä.test/",
        "http://[::1/",
    ],
)
def test_a_url_that_could_be_read_in_two_ways_is_refused(url: str) -> None:
    """What is checked and what is connected to must be the same; and nothing of the URL is said to the caller."""
    with pytest.raises(NotConnectedError, match=r"^its address is no plain http or https URL$"):
        locate(url)


def test_guarded_connections_are_kept_apart() -> None:
    """A user's call must not travel on a connection whose address nobody checked."""
    assert locate("http://a.test/", guarded=True)[0] != locate("http://a.test/")[0]


def test_a_request_is_its_lines_its_length_and_its_body() -> None:
    """No header is added that was not asked for: the wire decides what a provider sees."""
    _, first_lines = locate("http://a.test/x")
    outgoing = Outgoing("http://a.test/x", {"content-type": "application/json", "x-key": "ké"}, b'{"a":1}')
    assert render(first_lines, outgoing) == (
        b"POST /x HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/json\r\nx-key: k\xe9\r\n"
        b'content-length: 7\r\n\r\n{"a":1}'
    )


@pytest.mark.parametrize(
    "headers",
    [{"x-key": "a\r\nhost: b"}, {"x-key": "a\nb"}, {"x-key": "a\0"}, {"x-key": "ключ"}, {"x key": "a"}, {"x:": "a"}],
)
def test_a_header_cannot_break_out_of_its_line(headers: dict[str, str]) -> None:
    """A key is stored text; one with a line end in it must not write headers, and is not repeated in the error."""
    with pytest.raises(NotConnectedError) as refused:
        render(b"", Outgoing("http://a.test/", headers, b""))
    assert not any(value.strip() in str(refused.value) for value in headers.values() if len(value.strip()) > 1)
