"""Addresses: looked up once for many, tried side by side, and closed to users where they are not public."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from app.gateway.transport import HttpTransport
from app.gateway.transport.dialing import dial
from app.gateway.transport.origins import Origin
from app.gateway.transport.resolver import Resolver
from app.gateway.wire import ForbiddenAddressError, NotConnectedError
from gateway.transport.peers import Peer, Provider, keep_answering, provider, to

FORBIDDEN = r"^its host must resolve to public addresses only, or be allowed by the operator$"
look_up = socket.getaddrinfo


class Names:
    """The system's resolver with names of its own, counting; a name may have another answer every time it is asked."""

    def __init__(self, **names: list[str]) -> None:
        self.names = {name.replace("_", "."): answers for name, answers in names.items()}
        self.asked: list[str] = []
        self.released = threading.Event()
        self.released.set()

    def __call__(self, host: str, port: Any, *args: Any, **options: Any) -> Any:
        """As socket.getaddrinfo."""
        if host not in self.names:
            return look_up(host, port, *args, **options)
        self.asked.append(host)
        self.released.wait(5)
        answers = self.names[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        if not addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "the resolver is away")
        return [found for address in addresses.split() for found in look_up(address, port, *args, **options)]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Names of this test; guarded lookups go through the system's resolver in a thread."""
    made = Names(one_test=["127.0.0.1"], moving_test=["127.0.0.1", "10.0.0.1"], mixed_test=["127.0.0.1 10.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", made)
    return made


def guarded(url: str, host: str = "127.0.0.1") -> Origin:
    """An origin a user chose."""
    return Origin("http", host, int(url.split(":")[2].split("/", maxsplit=1)[0]), guarded=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0"])
async def test_a_users_address_must_be_public(transport: HttpTransport, host: str) -> None:
    """However it is spelled; no connection is made, and the operator's own calls go there all the same."""
    async with provider(keep_answering) as peer:
        url = peer.url.replace("127.0.0.1", host)
        with pytest.raises(ForbiddenAddressError, match=FORBIDDEN):
            await transport.guarded(to(url))
        assert await (await transport(to(peer.url))).read() == b"1"
        with pytest.raises(ForbiddenAddressError):
            await transport.guarded(to(url))
        assert peer.opened == 1


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.0/8", "one.test", "one.test:{port}", "127.0.0.1:{port}"])
async def test_what_the_operator_allows_is_open_to_users(names: Names, allowed: str) -> None:
    """A model server in the house, on one port or on all."""
    async with provider(keep_answering) as peer:
        transport = HttpTransport([allowed.format(port=peer.port)])
        await transport.start()
        for _ in range(2):
            response = await transport.guarded(to(peer.url.replace("127.0.0.1", "one.test")))
            assert await response.read() == b"1"
        await transport.stop()


async def test_another_port_is_not_allowed_with_it(names: Names) -> None:
    """Beside the model server, the house has a database."""
    async with provider(keep_answering) as peer:
        transport = HttpTransport([f"127.0.0.1:{peer.port + 1}"])
        await transport.start()
        with pytest.raises(ForbiddenAddressError):
            await transport.guarded(to(peer.url))
        await transport.stop()
        assert peer.opened == 0


async def test_the_connection_goes_to_the_address_that_was_checked(names: Names) -> None:
    """A name that answers differently the second time is how such checks are passed: there is no second time."""

    async def name_host(peer: Peer) -> None:
        while request := await peer.request():
            await peer.answer(request.partition(b"host: ")[2].partition(b"\r\n")[0])

    async with provider(name_host) as peer:
        transport = HttpTransport(["127.0.0.1"])
        await transport.start()
        url = peer.url.replace("127.0.0.1", "moving.test")
        response = await transport.guarded(to(url))
        assert await response.read() == b"moving.test:%d" % peer.port
        assert names.asked == ["moving.test"]
        await transport.stop()


async def test_one_private_answer_among_many_is_enough_to_refuse(names: Names) -> None:
    """Which of the answers is used is chance, and may be the user's."""
    async with provider(keep_answering) as peer:
        resolver = Resolver(["127.0.0.1"])
        with pytest.raises(ForbiddenAddressError, match=FORBIDDEN):
            await resolver.addresses(guarded(peer.url, "mixed.test"))
        resolver.close()
        assert peer.opened == 0


async def test_a_name_is_looked_up_once_for_all_who_wait(names: Names) -> None:
    """A rush of calls must not become a rush of lookups; and one who gives up takes nothing from the others."""
    names.released.clear()
    resolver, origin = Resolver(["127.0.0.1"]), Origin("http", "one.test", 80, guarded=True)
    waiting = [asyncio.create_task(resolver.addresses(origin)) for _ in range(20)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    names.released.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert found[1:] == [("127.0.0.1",)] * 19
    assert names.asked == ["one.test"]
    resolver.close()


async def test_what_was_found_is_kept_for_a_while(names: Names) -> None:
    """Half a minute, shortened here: a provider that moves is found again."""
    resolver, origin = Resolver(["0.0.0.0/0"], kept=0.05), Origin("http", "moving.test", 80, guarded=True)
    assert [await resolver.addresses(origin) for _ in range(3)] == [("127.0.0.1",)] * 3
    await asyncio.sleep(0.06)
    assert await resolver.addresses(origin) == ("10.0.0.1",)
    resolver.forget(origin)
    await resolver.addresses(origin)
    assert names.asked == ["moving.test"] * 3
    resolver.close()


async def test_a_failed_lookup_is_not_kept(names: Names) -> None:
    """A resolver that was away for a second must not keep a provider away for thirty."""
    names.names["late.test"] = ["", "127.0.0.1"]
    resolver, origin = Resolver(["127.0.0.1"]), Origin("http", "late.test", 80, guarded=True)
    with pytest.raises(ForbiddenAddressError, match=FORBIDDEN):
        await resolver.addresses(origin)
    assert await resolver.addresses(origin) == ("127.0.0.1",)
    resolver.close()


async def test_a_name_that_is_none_is_said_without_it(transport: HttpTransport) -> None:
    """The operator's mistake in a base URL; nothing was sent, so that another provider may be asked."""
    with pytest.raises(NotConnectedError, match=r"^cannot connect: its host name does not resolve$"):
        await transport(to(f"http://{'a' * 64}.test/"))


async def test_the_names_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users choose names, and may choose many."""
    monkeypatch.setattr("app.gateway.transport.resolver.MOST_NAMES", 3)
    resolver = Resolver()
    for number in range(9):
        await resolver.addresses(Origin("http", f"127.0.0.{number}", 80))
    assert len(resolver._known) == 3
    resolver.close()


class Noting(asyncio.Protocol):
    """Notes its transport."""

    made: asyncio.BaseTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note it."""
        self.made = transport


async def test_an_address_where_nobody_answers_costs_a_moment_only() -> None:
    """The other family is tried a quarter of a second later (RFC 8305), and at once after a refusal."""

    async def reach(peer: Provider, *addresses: str) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        found = await dial(Origin("http", "any.test", peer.port), addresses, Noting)
        found.made.close()
        return loop.time() - began

    async with provider(keep_answering) as peer:
        assert await reach(peer, "::1", "127.0.0.1") < 0.2
        with socket.socket(socket.AF_INET6) as crowded:
            crowded.bind(("::1", peer.port))
            crowded.listen(0)
            fillers = [socket.socket(socket.AF_INET6) for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("::1", peer.port))
            assert 0.2 < await reach(peer, "::1", "127.0.0.1") < 2
            for filler in fillers:
                filler.close()
        await peer.has_open(0)
        assert peer.opened == 2


async def test_an_ipv6_address_is_called_like_any_other(transport: HttpTransport) -> None:
    """Bracketed in the URL and in Host."""
    async with provider(keep_answering, host="::1") as peer:
        response = await transport(to(peer.url.replace("127.0.0.1", "[::1]")))
        assert await response.read() == b"1"
