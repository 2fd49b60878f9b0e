"""Bodies: read at the gateway's pace, bounded, and never half of one taken for the whole."""

from __future__ import annotations

import asyncio
import gc
import gzip

import pytest

from app.gateway.transport import HttpTransport, response
from app.gateway.transport.response import HIGH_WATER, HttpResponse
from gateway.transport.peers import Peer, ask, provider, to

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
MIB = 1024 * 1024


def alive(kind: type) -> int:
    """How many objects of this kind nothing has let go of yet."""
    return sum(type(one) is kind for one in gc.get_objects())


async def test_a_stream_comes_as_it_is_sent(transport: HttpTransport) -> None:
    """The first token is what people wait for."""
    heard = asyncio.Event()

    async def converse(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for word in (b"one", b"two"):
            await peer.send(b"3\r\n" + word + b"\r\n")
            await heard.wait()
            heard.clear()
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    async with provider(converse) as peer:
        found = await transport(to(peer.url))
        words = []
        async for piece in found.chunks():
            words.append(piece)
            heard.set()
        assert words == [b"one", b"two"]
        assert (found.status, found.headers) == (200, {"transfer-encoding": "chunked"})


async def test_a_slow_client_holds_the_provider_back(transport: HttpTransport) -> None:
    """A hundred megabytes for a client that reads nothing must wait at the provider, not in our memory."""
    sent = 0

    async def pour(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (96 * MIB))
        for _ in range(96 * 4):
            await peer.send(bytes(MIB // 4))
            sent += MIB // 4

    async with provider(pour) as peer:
        found = await transport(to(peer.url))
        pieces = found.chunks()
        read = len(await anext(pieces))
        await asyncio.sleep(0.3)
        stalled = sent
        assert found._size <= HIGH_WATER + MIB
        assert stalled < 48 * MIB  # what sockets buffer, on the loopback of any system
        async for piece in pieces:
            assert len(piece) <= HIGH_WATER + MIB
            read += len(piece)
        assert read == sent == 96 * MIB


async def test_a_plain_body_is_read_without_holding_back(transport: HttpTransport) -> None:
    """Larger than what a stream may buffer, and paused before it was asked for."""

    async def pour(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"x" * 8 * MIB)
        await peer.request()
        await peer.answer(b"again")

    async with provider(pour) as peer:
        found = await transport(to(peer.url))
        await asyncio.sleep(0.1)
        assert len(await found.read()) == 8 * MIB
        assert await ask(transport, peer.url) == b"again"
        assert peer.opened == 1


@pytest.mark.parametrize("announced", [True, False])
async def test_a_plain_body_has_a_limit(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    """Of 64 MiB, shortened here: beyond it the connection is closed, at once where the length was announced."""
    monkeypatch.setattr(response, "MOST_BYTES", MIB)

    async def pour(peer: Peer) -> None:
        await peer.request()
        length = b"content-length: 2000000\r\n" if announced else b""
        await peer.send(b"HTTP/1.1 200 OK\r\n%b\r\n" % length)
        await peer.send(bytes(0 if announced else 2_000_000))
        await peer.gone()

    async with provider(pour) as peer:
        with pytest.raises(ConnectionError, match=r"^the answer is longer than 1 MiB$"):
            await asyncio.wait_for(ask(transport, peer.url), 5)
        await peer.has_open(0)


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhell",
        CHUNKED + b"4\r\nhell\r\n",
        CHUNKED + b"9\r\nhell",
        CHUNKED + b"4\r\nhell\r\n0\r\n",
    ],
)
async def test_a_body_cut_short_is_an_error_after_what_had_come(transport: HttpTransport, cut: bytes) -> None:
    """A stream passes on what it has and then says that it broke; a plain call must not answer with a half."""

    async def break_off(peer: Peer) -> None:
        await peer.request()
        await peer.send(cut)

    async with provider(break_off) as peer:
        with pytest.raises(ConnectionError, match=r"^the connection broke before the answer was complete$"):
            await ask(transport, peer.url)
        found, heard = await transport(to(peer.url)), b""
        pieces = found.chunks()
        while len(heard) < 4:
            heard += await anext(pieces)
        with pytest.raises(ConnectionError, match=r"^the connection broke before the answer was complete$"):
            await anext(pieces)
        assert heard == b"hell"


async def test_a_body_that_stops_being_http_is_an_error(transport: HttpTransport) -> None:
    """And the connection is closed at once: where it stands, nobody knows."""

    async def lie(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"4\r\nhell\r\nwhat?\r\n")
        await peer.gone()

    async with provider(lie) as peer:
        with pytest.raises(ConnectionError, match="not valid HTTP"):
            await ask(transport, peer.url)
        await peer.has_open(0)


async def test_a_body_that_was_encoded_unasked_is_decoded(transport: HttpTransport) -> None:
    """No Accept-Encoding is sent, and some proxies compress all the same."""
    packed = gzip.compress(b"hello " * 1000, mtime=0)

    async def pack(peer: Peer) -> None:
        while b"accept-encoding" not in (await peer.request()).lower():
            await peer.answer(packed, b"Content-Encoding: GZIP\r\n")

    async with provider(pack) as peer:
        assert await ask(transport, peer.url) == b"hello " * 1000
        found = await transport(to(peer.url))
        assert b"".join([piece async for piece in found.chunks()]) == b"hello " * 1000


@pytest.mark.parametrize(
    ("body", "fields", "said"),
    [
        (b"x", b"content-encoding: br\r\n", "not asked for"),
        (b"plain", b"content-encoding: gzip\r\n", "damaged"),
        (gzip.compress(bytes(2 * MIB), mtime=0), b"content-encoding: gzip\r\n", "longer than 1 MiB"),
        (gzip.compress(b"hello", mtime=0)[:-2], b"content-encoding: gzip\r\n", "cut short"),
    ],
)
async def test_an_encoding_that_cannot_be_undone_is_an_error(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch, body: bytes, fields: bytes, said: str
) -> None:
    """Unknown, damaged, cut, or a bomb; the limit is that of the plain text."""
    monkeypatch.setattr(response, "MOST_BYTES", MIB)

    async def pack(peer: Peer) -> None:
        await peer.request()
        await peer.answer(body, fields)

    async with provider(pack) as peer:
        with pytest.raises(ConnectionError, match=said):
            await ask(transport, peer.url)


async def test_a_redirect_is_an_answer_and_not_followed(transport: HttpTransport) -> None:
    """The key must not travel to where a provider, or who took it over, points."""

    async def point(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")

    async with provider(point) as peer:
        found = await transport(to(peer.url))
        assert (found.status, await found.read(), peer.opened) == (307, b"", 1)


async def test_a_silent_stream_says_so_and_goes_on(transport: HttpTransport) -> None:
    """The lane sends comments while a model thinks, and gives up on one that never speaks again."""

    async def think(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await asyncio.sleep(0.25)
        for _ in range(40):
            await peer.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.005)
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    async with provider(think) as peer:
        pieces = [piece async for piece in (await transport(to(peer.url))).chunks(0.1)]
        silent = pieces.index(b"x") if b"x" in pieces else len(pieces)
        assert pieces[:silent] == [b""] * silent
        assert 1 <= silent <= 2
        assert b"".join(pieces) == b"x" * 40


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "given up"])
async def test_a_stream_leaves_nothing_to_the_collector(transport: HttpTransport, *, whole: bool) -> None:
    """What waits for the collector is looked through by it, while every other call waits."""

    async def speak(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"1\r\nx\r\n")
        if whole:
            await peer.send(b"0\r\n\r\n")
        await peer.gone()

    async with provider(speak) as peer:
        found = await transport(to(peer.url))
        pieces = found.chunks(5)
        assert await anext(pieces) == b"x"
        if whole:
            assert [piece async for piece in pieces] == []
        gc.disable()
        try:
            before = alive(HttpResponse) - 1
            await found.close()
            await pieces.aclose()
            del found, pieces
            await asyncio.sleep(0.05)
            assert alive(HttpResponse) == before
        finally:
            gc.enable()


async def test_a_slow_reader_is_no_silence(transport: HttpTransport) -> None:
    """The provider is not to blame for a client that takes its time; and a closed stream rings no more."""

    async def pour(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for word in (b"x", b"y"):
            await asyncio.sleep(0.02)
            await peer.send(b"1\r\n" + word + b"\r\n")
        await peer.gone()

    loop = asyncio.get_running_loop()
    async with provider(pour) as peer:
        found = await transport(to(peer.url))
        pieces = found.chunks(0.1)
        assert await anext(pieces) == b"x"
        await asyncio.sleep(0.25)
        assert await anext(pieces) == b"y"
        began = loop.time()
        assert await anext(pieces) == b""
        assert loop.time() - began > 0.09
        silence = found._silence
        assert silence
        await found.close()
        with pytest.raises(ConnectionError):
            await anext(pieces)
        assert silence._timer.cancelled()
