"""The guarded client, against sites that mean harm: where it goes, how long it stays, and how much it takes."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.outbound.fetch import FetchCancelledError, Fetcher, FetchError, Limits
from support.resolving import resolving
from support.site import Web, Write, moved, reply, serving

LOOPBACK = ("127.0.0.1",)
SHORT = Limits(seconds=0.6)


@pytest.fixture
def web() -> Iterator[Web]:
    """A site with one page."""
    with serving({"/": reply("<title>Home</title>")}) as site:
        yield site


@pytest.fixture
def fetcher() -> Fetcher:
    """The client, let onto one loopback address."""
    return Fetcher(LOOPBACK, limits=SHORT)


def test_a_page_is_read(web: Web, fetcher: Fetcher) -> None:
    """Address, status, headers and body, asked for under one fixed name and without a cookie."""
    page = fetcher.get(web.url)
    assert (page.url, page.status, page.text(), page.complete) == (f"{web.url}/", 200, "<title>Home</title>", True)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    target, headers = web.heard[-1]
    assert (target, headers["host"], headers["user-agent"]) == ("/", f"127.0.0.1:{web.port}", "Yardmaster/0.1")
    assert not {"cookie", "authorization", "referer"} & headers.keys()


def test_the_query_is_sent_and_the_fragment_is_not(web: Web, fetcher: Fetcher) -> None:
    """As browsers do."""
    web.pages["/a%20b?q=%C3%A9&x=1"] = reply("found")
    assert fetcher.get(f"{web.url}/a%20b?q=é&x=1#part").text() == "found"


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/", "file:///etc/passwd", "javascript:alert(1)", "http://", "http://a b/", "http://u:p@h/", ""],
)
def test_only_plain_web_addresses_are_read(url: str, fetcher: Fetcher) -> None:
    """Nothing else, and no credentials."""
    with pytest.raises(FetchError, match="no http or https address"):
        fetcher.get(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "0x7f000001", "2130706433"])
def test_private_addresses_are_refused(host: str) -> None:
    """However they are written, unless the operator lists them."""
    with serving() as web, pytest.raises(FetchError):
        Fetcher().get(f"http://{host}:{web.port}/")
    assert web.heard == []


def test_a_redirect_to_a_private_address_is_refused(web: Web, fetcher: Fetcher) -> None:
    """Each hop is checked as the first was: 127.0.0.2 is not on the list."""
    with serving({"/": reply("secret")}, host="127.0.0.2") as inner:
        web.pages["/"] = moved(f"{inner.url}/")
        with pytest.raises(FetchError, match="public addresses only"):
            fetcher.get(web.url)
        assert inner.heard == []


@pytest.mark.parametrize("to", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://[::1", "http://x:y@127.0.0.1/"])
def test_a_redirect_to_something_else_is_refused(web: Web, fetcher: Fetcher, to: str) -> None:
    """A scheme, or what cannot be read as an address."""
    web.pages["/"] = moved(to)
    with pytest.raises(FetchError):
        fetcher.get(web.url)


def test_the_address_that_was_checked_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher
) -> None:
    """DNS rebinding: the name answers another address the next time, and nobody asks it."""
    with serving({"/": reply("public")}) as outer:
        asked = resolving(monkeypatch, {"rebind.test": ["127.0.0.1", "127.0.0.1", "127.0.0.2"]})
        assert fetcher.get(f"http://rebind.test:{outer.port}/").text() == "public"
        assert asked.count("rebind.test") == 2  # once for robots.txt, once for the page
        assert {headers["host"] for _, headers in outer.heard} == {f"rebind.test:{outer.port}"}
        with pytest.raises(FetchError, match="public addresses only"):
            fetcher.get(f"http://rebind.test:{outer.port}/")


def test_another_address_of_the_host_is_tried_when_one_is_closed(monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    """Names with an IPv6 address nobody listens on are common."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        both = ["::1", "127.0.0.1"] if host == "two.test" else [host]
        return [answer for one in both for answer in real(one, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    page = Fetcher(("127.0.0.1", "::1")).get(f"http://two.test:{web.port}/")
    assert page.status == 200


def test_redirects_are_followed(web: Web, fetcher: Fetcher) -> None:
    """Five of them, relative ones too, by every status that moves a GET."""
    for at, status in enumerate((301, 302, 303, 307, 308)):
        web.pages[f"/{at}"] = moved(str(at + 1), status)
    web.pages["/5"] = reply("there")
    page = fetcher.get(f"{web.url}/0")
    assert (page.url, page.text()) == (f"{web.url}/5", "there")


def test_the_sixth_redirect_is_one_too_many(web: Web, fetcher: Fetcher) -> None:
    """A loop ends."""
    web.pages["/"] = moved("/")
    with pytest.raises(FetchError, match="redirects more than 5 times"):
        fetcher.get(web.url)
    assert len(web.read) == 6


def test_a_redirect_without_a_place_is_a_page(web: Web, fetcher: Fetcher) -> None:
    """There is nothing to follow."""
    web.pages["/"] = b"HTTP/1.1 302 Found\r\ncontent-length: 2\r\n\r\nhi"
    assert fetcher.get(web.url).body == b"hi"


def test_a_redirect_in_raw_utf8_is_followed(web: Web, fetcher: Fetcher) -> None:
    """Servers send what is not ASCII, and spaces, as they are."""
    web.pages["/"] = moved("/été chaud")
    web.pages["/%C3%A9t%C3%A9%20chaud"] = reply("found")
    assert fetcher.get(web.url).text() == "found"


def drip(write: Write, head: bytes, gap: float = 0.05) -> None:
    """A byte now and then, for as long as anybody listens."""
    write(head)
    for _ in range(400):
        time.sleep(gap)
        write(b"x")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nx: ",
        b"HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["status line", "headers", "body", "body without a length"],
)
def test_nobody_is_kept_waiting_byte_by_byte(web: Web, fetcher: Fetcher, head: bytes) -> None:
    """The time is for the whole page, and not for each read of it."""
    web.pages["/"] = lambda write: drip(write, head)
    began = time.monotonic()
    with pytest.raises(FetchError, match=r"no answer within 0\.6 s"):
        fetcher.get(web.url)
    assert time.monotonic() - began < 2


def test_one_who_says_nothing_is_left(web: Web, fetcher: Fetcher) -> None:
    """A connection that is taken and never answered."""
    silent = threading.Event()
    web.pages["/"] = lambda _: silent.wait(5)
    with pytest.raises(FetchError, match=r"no answer within 0\.6 s"):
        fetcher.get(web.url)
    silent.set()


def test_a_slow_look_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher) -> None:
    """A name whose server never answers holds the resolver for half a minute, and nobody else."""
    asked = threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> Any:
        asked.wait(5)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(FetchError, match=r"no answer within 0\.6 s"):
        fetcher.get("http://slow.test/")
    asked.set()


def test_redirects_share_the_time_of_the_page(web: Web, fetcher: Fetcher) -> None:
    """Five slow hops are not five times as long."""

    def slowly(write: Write) -> None:
        time.sleep(0.3)
        write(moved("/"))

    web.pages["/"] = slowly
    began = time.monotonic()
    with pytest.raises(FetchError, match="no answer within"):
        fetcher.get(web.url)
    assert time.monotonic() - began < 1.5


def test_a_huge_page_is_read_in_part(web: Web) -> None:
    """As much as may be read, and the page says that it is not all."""
    web.pages["/"] = reply(b"x" * 3_000_000)
    page = Fetcher(LOOPBACK).get(web.url)
    assert (len(page.body), page.complete) == (2 * 1024 * 1024, False)
    assert len(Fetcher(LOOPBACK).get(web.url, 3_000_000).body) == 3_000_000


def test_a_body_of_exactly_the_limit_is_complete(web: Web) -> None:
    """The limit itself is allowed."""
    web.pages["/"] = reply(b"x" * 1000)
    assert Fetcher(LOOPBACK).get(web.url, 1000).complete
    assert not Fetcher(LOOPBACK).get(web.url, 999).complete


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_packed_pages_are_unpacked(web: Web, fetcher: Fetcher, encoding: str, pack: Any) -> None:
    """As asked for."""
    web.pages["/"] = reply(pack("été".encode()), content_encoding=encoding)
    assert fetcher.get(web.url).text() == "été"


def test_a_decompression_bomb_does_not_go_off(web: Web) -> None:
    """100 MB in 100 KB: only what may be read is unpacked."""
    packed = gzip.compress(b"\0" * 100_000_000, 9)
    web.pages["/"] = reply(packed, content_encoding="gzip")
    tracemalloc.start()
    page = Fetcher(LOOPBACK).get(web.url)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(page.body), page.complete) == (2 * 1024 * 1024, False)
    assert peak < 12_000_000


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd"])
def test_other_packing_is_not_unpacked(web: Web, fetcher: Fetcher, encoding: str) -> None:
    """Packed twice is how a bomb is hidden from a count."""
    web.pages["/"] = reply(gzip.compress(gzip.compress(b"x")), content_encoding=encoding)
    with pytest.raises(FetchError, match="packed in a way"):
        fetcher.get(web.url)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "no connection, or one that broke off"),
        (b"SSH-2.0-OpenSSH_9\r\n", "no connection, or one that broke off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfour", "no connection, or one that broke off"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nfour", "cannot be unpacked"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "no connection, or one that broke off"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", "no connection, or one that broke off"),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000 + b"\r\n\r\n", "no connection, or one that broke off"),
    ],
)
def test_broken_answers_are_told_in_a_sentence(web: Web, fetcher: Fetcher, raw: bytes, sentence: str) -> None:
    """Whatever a peer sends, the job goes on; the sentence names no address."""
    web.pages["/"] = raw
    with pytest.raises(FetchError, match=sentence) as failed:
        fetcher.get(web.url)
    assert "127" not in str(failed.value)


def test_a_closed_port_is_no_connection(fetcher: Fetcher) -> None:
    """A site that is gone."""
    with serving() as web:
        pass
    with pytest.raises(FetchError, match="no connection"):
        fetcher.get(web.url)


@pytest.mark.parametrize(
    ("raw", "content_type", "text"),
    [
        ("é€".encode("cp1252"), "text/html", "é€"),
        ("é€".encode("cp1252"), "text/html; charset=utf-8", "é€"),
        ("é".encode(), "text/html; charset=iso-8859-1", "Ã©"),
        ("Ж".encode("cp1251"), 'text/html; charset="windows-1251"', "Ж"),
        ("é".encode("utf-16"), "text/html; charset=utf-8", "é"),
        (b"\xef\xbb\xbf\xc3\xa9", "text/html; charset=iso-8859-1", "é"),
        (b'<meta charset="koi8-r">\xf6', "text/html", '<meta charset="koi8-r">Ж'),
        ("é".encode(), "text/html; charset=zlib", "é"),
        ("é".encode(), "text/html; charset=unicode_escape", "é"),
        ("é".encode(), "text/html; charset=nosuch", "é"),
        ("日本".encode("shift_jis"), "text/html; charset=Shift_JIS", "日本"),
        (b"\x81\xff", "text/html; charset=utf-8", "\ufffdÿ"),
        (b"", "", ""),
    ],
)
def test_wrong_charsets_are_survived(web: Web, fetcher: Fetcher, raw: bytes, content_type: str, text: str) -> None:
    """The mark, the header, the page itself, UTF-8, and then Windows-1252, which is right most often."""
    web.pages["/"] = reply(raw, content_type=content_type)
    assert fetcher.get(web.url).text() == text


def test_a_page_cut_within_a_character_keeps_its_charset(web: Web) -> None:
    """Half a character at the end does not make the whole page another charset's."""
    web.pages["/"] = reply("éé".encode())
    assert Fetcher(LOOPBACK).get(web.url, 3).text() == "é"


def test_robots_txt_is_asked_once_and_respected(web: Web, fetcher: Fetcher) -> None:
    """For each site; what it forbids is not requested."""
    web.pages["/robots.txt"] = reply("User-agent: *\nDisallow: /private", content_type="text/plain")
    web.pages["/private/x"] = reply("secret")
    assert fetcher.get(web.url).status == 200
    with pytest.raises(FetchError, match=r"robots\.txt does not allow it"):
        fetcher.get(f"{web.url}/private/x")
    assert [target for target, _ in web.heard] == ["/robots.txt", "/"]


def test_a_redirect_into_a_forbidden_part_is_not_followed(web: Web, fetcher: Fetcher) -> None:
    """The rule is about the page, and not about the way to it."""
    web.pages |= {"/robots.txt": reply("User-agent: yardmaster\nDisallow: /p"), "/": moved("/p")}
    with pytest.raises(FetchError, match=r"robots\.txt"):
        fetcher.get(web.url)
    assert web.read == ["/"]


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (403, True), (500, False), (503, False)])
def test_a_missing_robots_txt_allows_and_a_broken_one_forbids(
    web: Web, fetcher: Fetcher, status: int, allowed: bool
) -> None:
    """RFC 9309 §2.3.1.3 and §2.3.1.4."""
    web.pages["/robots.txt"] = reply("User-agent: *\nDisallow: /", status)
    if allowed:
        assert fetcher.get(web.url).status == 200
    else:
        with pytest.raises(FetchError, match=r"robots\.txt"):
            fetcher.get(web.url)


def test_a_robots_txt_that_moved_is_followed(web: Web, fetcher: Fetcher) -> None:
    """RFC 9309 §2.3.1.2; and it is checked where it moved to."""
    web.pages |= {"/robots.txt": moved("/r"), "/r": reply("User-agent: *\nDisallow: /")}
    with pytest.raises(FetchError, match=r"robots\.txt"):
        fetcher.get(web.url)
    web.pages["/robots.txt"] = moved("http://10.0.0.1/robots.txt")
    with pytest.raises(FetchError, match="public addresses only"):
        Fetcher(LOOPBACK).get(web.url)


def test_five_pages_of_a_site_are_enough(web: Web, fetcher: Fetcher) -> None:
    """robots.txt is not one of them; another visit begins anew."""
    site = fetcher.site()
    for _ in range(5):
        site.get(web.url)
    with pytest.raises(FetchError, match="more than 5 pages"):
        site.get(web.url)
    assert fetcher.site().get(web.url).status == 200
    assert len(web.read) == 6


def test_a_cancelled_job_asks_nothing_more(web: Web) -> None:
    """Between pages, and between the hops of one."""
    fetcher = Fetcher(LOOPBACK, cancelled=lambda: len(web.heard) >= 3)
    assert fetcher.get(web.url).status == 200
    web.pages["/loop"] = moved("/loop")
    with pytest.raises(FetchCancelledError):
        fetcher.get(f"{web.url}/loop")
    assert len(web.heard) == 3


def test_nothing_is_left_open_or_running(web: Web, fetcher: Fetcher) -> None:
    """A job of ten thousand sites must not run out of files or threads."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        fetcher.get(web.url)
        with pytest.raises(FetchError):
            fetcher.get("http://127.0.0.1:1/")
    time.sleep(0.1)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3
    assert sum(isinstance(thread, threading.Timer) for thread in threading.enumerate()) == 0
