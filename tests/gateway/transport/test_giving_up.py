"""Giving up: a cancelled call closes its socket at once, for a model that goes on talking is paid."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

import pytest

from app.gateway.transport import HttpTransport
from app.gateway.transport.origins import locate
from app.gateway.transport.pool import Pool
from app.gateway.transport.resolver import Resolver
from app.gateway.wire import NotConnectedError
from gateway.transport.peers import Peer, ask, keep_answering, provider, to

AT_ONCE_S = 0.1
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def silent(peer: Peer) -> None:
    """Take the request and think."""
    await peer.request()
    await peer.gone()


async def half(peer: Peer) -> None:
    """Begin an answer, and think."""
    await peer.request()
    await peer.send(HEAD + b"5\r\nhello\r\n")
    await peer.gone()


async def deaf(peer: Peer) -> None:
    """Never read what the client says, such as its TLS hello."""
    await asyncio.sleep(0.01)
    await peer.reader.read(1)
    await peer.gone()


async def read_whole(transport: HttpTransport, url: str) -> None:
    """A plain call."""
    await ask(transport, url)


async def read_chunks(transport: HttpTransport, url: str) -> None:
    """A stream."""
    response = await transport(to(url))
    async for _ in response.chunks():
        pass


async def connect_tls(transport: HttpTransport, url: str) -> None:
    """A call that stands in its TLS handshake."""
    await ask(transport, url.replace("http:", "https:"))


Call = Callable[[HttpTransport, str], Coroutine[None, None, None]]


@pytest.mark.parametrize(
    ("serve", "call"), [(silent, read_whole), (half, read_whole), (half, read_chunks), (deaf, connect_tls)]
)
async def test_a_cancelled_call_closes_its_socket_at_once(
    transport: HttpTransport, serve: Callable[[Peer], Awaitable[None]], call: Call
) -> None:
    """While it waits for the head, in the middle of a body, of a stream, of a handshake; the best of three is timed."""
    times = []
    async with provider(serve) as peer:
        for _ in range(3):
            task = asyncio.create_task(call(transport, peer.url))
            await peer.has_open(1)
            await asyncio.sleep(0.03)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            times.append(await peer.has_open(0))
    assert min(times) < AT_ONCE_S


async def test_a_call_cancelled_on_a_kept_connection_takes_that_with_it(transport: HttpTransport) -> None:
    """Its answer would come, and be read as the next call's."""

    async def answer_once(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"%d" % peer.number)
        await silent(peer)

    async with provider(answer_once) as peer:
        assert await ask(transport, peer.url) == b"1"
        task = asyncio.create_task(ask(transport, peer.url))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await peer.has_open(0)
        assert await ask(transport, peer.url) == b"2"


async def test_a_deadline_around_a_call_is_a_timeout(transport: HttpTransport) -> None:
    """The lane wraps calls in `asyncio.timeout`, and tells a timeout from a broken connection."""
    async with provider(silent) as peer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await ask(transport, peer.url)
        await peer.has_open(0)


async def test_closing_an_unread_response_closes_its_socket(transport: HttpTransport) -> None:
    """A refused call is not read on; twice closed is closed, and reading afterwards is an error, not a wait."""
    async with provider(half) as peer:
        response = await transport(to(peer.url))
        await response.close()
        await response.close()
        assert await peer.has_open(0) < 1
        with pytest.raises(ConnectionError, match="closed before"):
            await asyncio.wait_for(response.read(), 1)


async def test_leaving_a_stream_half_read_and_closing_it_closes_its_socket(transport: HttpTransport) -> None:
    """The client of a stream hung up."""
    async with provider(half) as peer:
        response = await transport(to(peer.url))
        pieces: AsyncIterator[bytes] = response.chunks()
        assert await anext(pieces) == b"hello"
        await response.close()
        assert await peer.has_open(0) < 1


async def test_closing_after_the_end_leaves_the_connection_to_the_next_call(transport: HttpTransport) -> None:
    """Which may already be using it."""
    async with provider(keep_answering) as peer:
        first = await transport(to(peer.url))
        second = asyncio.create_task(ask(transport, peer.url))
        await asyncio.sleep(0)
        await first.close()
        assert await second == b"1"
        assert await first.read() == b"1"


@pytest.fixture
def crowded() -> Iterator[str]:
    """A URL where the system takes no more connections: nothing is refused and nothing is accepted."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        for filler in fillers:
            filler.close()


async def test_connecting_takes_five_seconds_at_most(
    transport: HttpTransport, crowded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that swallows packets would hold a call for two minutes; shortened here."""
    monkeypatch.setattr("app.gateway.transport.pool.CONNECT_S", 0.1)
    with pytest.raises(NotConnectedError, match=r"^cannot connect within 0.1 s$"):
        await asyncio.wait_for(ask(transport, crowded), 2)


async def test_a_call_cancelled_while_connecting_leaves_no_socket(transport: HttpTransport, crowded: str) -> None:
    """Warnings are errors in these tests: a socket left to the collector would fail here."""
    task = asyncio.create_task(ask(transport, crowded))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gc.collect()


async def test_a_connection_that_comes_too_late_is_closed() -> None:
    """Cancelled in the very moment the connection was made: nobody would ever use it, or close it."""
    async with provider(keep_answering) as peer:
        pool = Pool(Resolver())
        opening = asyncio.create_task(pool.connect(locate(peer.url)[0]))
        await _until(lambda: bool(pool._open))
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await _until(lambda: peer.opened == 1)
        await peer.has_open(0)


async def _until(true: Callable[[], bool]) -> None:
    """Look at every turn of the loop."""
    for _ in range(100_000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


async def test_a_storm_of_calls_cut_anywhere_leaves_nothing_open(transport: HttpTransport) -> None:
    """Two hundred calls cancelled after every number of milliseconds: what stays open is idle, and works."""

    async def slowly(peer: Peer) -> None:
        while await peer.request():
            await asyncio.sleep(0.004)
            await peer.send(HEAD)
            await asyncio.sleep(0.004)
            await peer.send(b"5\r\nhello\r\n0\r\n\r\n")

    async def cut(number: int) -> None:
        task = asyncio.create_task(ask(transport, peer.url))
        await asyncio.sleep(number % 20 / 1000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async with provider(slowly) as peer:
        await asyncio.gather(*map(cut, range(200)))
        kept = len(transport._pool._open) if transport._pool else -1
        await peer.has_open(kept)
        assert await asyncio.gather(*(ask(transport, peer.url) for _ in range(20))) == [b"hello"] * 20
        await transport.stop()
        await peer.has_open(0)
