"""Connections: used again while they are good, left when they are not, repeated on once and rarely."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar

import pytest

from app.gateway.transport import HttpTransport, pool
from app.gateway.wire import NotConnectedError
from gateway.transport.peers import Peer, ask, keep_answering, provider, to

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_a_connection_carries_one_request_after_another(transport: HttpTransport) -> None:
    """A handshake a call would double its latency."""
    async with provider(keep_answering) as peer:
        assert [await ask(transport, peer.url) for _ in range(20)] == [b"1"] * 20


async def test_the_connection_used_last_is_used_first(transport: HttpTransport) -> None:
    """So that the others grow old and are closed when a rush is over."""
    async with provider(keep_answering) as peer:
        await asyncio.gather(*(ask(transport, peer.url) for _ in range(5)))
        last = await ask(transport, peer.url)
        assert peer.open == 5
        assert [await ask(transport, peer.url) for _ in range(9)] == [last] * 9


async def test_calls_at_the_same_time_never_share_a_connection(transport: HttpTransport) -> None:
    """Answers must not be mixed up; how many calls may run is not decided here."""

    async def echo(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.answer(request.partition(b"\r\n\r\n")[2])

    async def call(number: int) -> bool:
        await asyncio.sleep(number % 7 / 1000)
        response = await transport(to(peer.url, b"%d" % number))
        return await response.read() == b"%d" % number

    async with provider(echo) as peer:
        assert all(await asyncio.gather(*map(call, range(300))))
        assert peer.opened <= 300


async def test_a_connection_that_went_stale_is_replaced_once(transport: HttpTransport) -> None:
    """A provider may close an idle connection just as it is used again: the call must not fail for that."""
    asked: list[int] = []

    async def once(peer: Peer) -> None:
        await peer.request()
        asked.append(peer.number)
        await peer.answer()
        if peer.number == 1:
            await peer.request()  # taken, and closed without a word

    async with provider(once) as peer:
        assert await ask(transport, peer.url) == b"ok"
        assert await ask(transport, peer.url) == b"ok"
        assert asked == [1, 2]


async def test_a_second_silent_end_is_an_error(transport: HttpTransport) -> None:
    """One repetition, on a fresh connection: a provider that takes requests and hangs up may be paid for each."""
    taken: list[int] = []

    async def hang_up(peer: Peer) -> None:
        while await peer.request():
            taken.append(peer.number)
            if peer.number > 1 or len(taken) > 1:
                return
            await peer.answer()

    async with provider(hang_up) as peer:
        assert await ask(transport, peer.url) == b"ok"
        with pytest.raises(ConnectionError, match=r"^the connection broke before the answer was complete$"):
            await ask(transport, peer.url)
        assert taken == [1, 1, 2]


async def test_a_fresh_connection_is_never_repeated_on(transport: HttpTransport) -> None:
    """Nothing says that the provider did not do the work."""

    async def hang_up(peer: Peer) -> None:
        await peer.request()

    async with provider(hang_up) as peer:
        with pytest.raises(ConnectionError):
            await ask(transport, peer.url)
        assert peer.opened == 1


@pytest.mark.parametrize("begun", [b"H", OK[:-1], b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_nothing_is_repeated_after_the_first_byte(transport: HttpTransport, begun: bytes) -> None:
    """A provider that began to answer has taken the request."""

    async def break_off(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()
        await peer.send(begun)

    async with provider(break_off) as peer:
        assert await ask(transport, peer.url) == b"ok"
        with pytest.raises(ConnectionError) as broken:
            await ask(transport, peer.url)
        assert not isinstance(broken.value, NotConnectedError)
        assert peer.opened == 1


@pytest.mark.parametrize(
    "answer",
    [
        OK.replace(b"\r\ncontent", b"\r\nconnection: close\r\ncontent"),
        OK.replace(b"1.1", b"1.0"),
        OK + b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ],
)
async def test_a_connection_not_to_be_used_again_is_closed(transport: HttpTransport, answer: bytes) -> None:
    """Closed by us where the provider said so or sent more than its answer, read to its end where it closes itself."""

    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        if b"\r\n\r\nok" in answer and b"content-length" not in answer:
            return
        await peer.gone()

    async with provider(serve) as peer:
        assert [await ask(transport, peer.url) for _ in range(3)] == [b"ok"] * 3
        await peer.has_open(0)
        assert peer.opened == 3


@pytest.mark.parametrize("ending", [b"", b"HTTP/1.1 408 Timeout\r\n\r\n"])
async def test_an_idle_connection_that_ends_or_talks_is_dropped(transport: HttpTransport, ending: bytes) -> None:
    """The next call would read the farewell as its answer."""

    async def part(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"%d" % peer.number)
        await asyncio.sleep(0.02)
        await peer.send(ending)
        if ending:
            await peer.gone()

    async with provider(part) as peer:
        assert await ask(transport, peer.url) == b"1"
        await peer.has_open(0)
        await asyncio.sleep(0.02)
        assert transport._pool
        assert not transport._pool._open
        assert await ask(transport, peer.url) == b"2"


async def test_an_idle_connection_is_closed_in_time(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers close theirs after a minute or so; who closes first spares a call the repetition."""
    monkeypatch.setattr(pool, "IDLE_S", 0.05)
    monkeypatch.setattr(pool, "SWEEP_S", 0.01)
    async with provider(keep_answering) as peer:
        await asyncio.gather(*(ask(transport, peer.url) for _ in range(3)))
        await peer.has_open(0)
        assert await ask(transport, peer.url) == b"4"


async def test_idle_connections_are_bounded(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a rush of a thousand calls a thousand sockets must not stay."""
    monkeypatch.setattr(pool, "MOST_IDLE", 3)
    async with provider(keep_answering) as peer:
        await asyncio.gather(*(ask(transport, peer.url) for _ in range(10)))
        await peer.has_open(3)


async def test_an_answer_before_the_request_was_taken_ends_the_connection(transport: HttpTransport) -> None:
    """A provider that refuses a large body early does not read the rest: it would be read as the next request."""

    async def refuse(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await peer.gone()

    async with provider(refuse, limit=4096) as peer:
        response = await transport(to(peer.url, bytes(32 * 1024 * 1024)))
        assert (response.status, await response.read()) == (413, b"no")
        await peer.has_open(0)


async def test_a_kept_connection_holds_nothing_of_the_call_that_opened_it(transport: HttpTransport) -> None:
    """Sockets live long, and calls hold prompts: callbacks of the first would keep its variables."""

    class Prompt:
        pass

    prompts: ContextVar[Prompt] = ContextVar("prompts")

    async def call() -> weakref.ref[Prompt]:
        prompt = Prompt()
        prompts.set(prompt)
        await ask(transport, peer.url)
        return weakref.ref(prompt)

    async with provider(keep_answering) as peer:
        held = await asyncio.create_task(call())
        await asyncio.sleep(0)
        gc.collect()
        assert peer.open == 1
        assert held() is None


async def test_stopping_closes_every_connection(transport: HttpTransport) -> None:
    """Idle ones and those in the middle of an answer; the callers of those are told."""

    async def stall(peer: Peer) -> None:
        while b"stall" not in await peer.request():
            await peer.answer()
        await peer.send(OK[:-1])
        await peer.gone()

    async with provider(stall) as peer:
        await ask(transport, peer.url)
        response = await transport(to(peer.url, b"stall"))
        reading = asyncio.create_task(response.read())
        await asyncio.sleep(0.01)
        await transport.stop()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(reading, 1)
        await peer.has_open(0)
        with pytest.raises(RuntimeError):
            await transport(to(peer.url))


async def test_nobody_listening_is_said_without_the_address(transport: HttpTransport) -> None:
    """Where a provider is, is the operator's affair; that nothing was sent lets the lane ask again."""
    async with provider(keep_answering) as peer:
        url = peer.url
    with pytest.raises(NotConnectedError, match=r"^cannot connect$"):
        await ask(transport, url)
