"""TLS: the certificate must be of a known authority and of the very host, and the call is then like any other."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.gateway.transport import HttpTransport, dialing
from app.gateway.wire import NotConnectedError
from gateway.transport.peers import Peer, ask, keep_answering, provider, to

NOT_ACCEPTED = r"^the TLS certificate was not accepted$"


class Authority:
    """A certificate authority of this test run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name("Yardmaster tests")
        made = self._certificate(self.name, self._key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        self.file = folder / "authority.pem"
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def server(self, dns: str = "", ip: str = "", days: int = 1) -> ssl.SSLContext:
        """A server's context with a certificate of these names, valid for so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        said: list[x509.GeneralName] = [x509.DNSName(dns)] if dns else []
        said += [x509.IPAddress(ipaddress.ip_address(ip))] if ip else []
        made = self._certificate(_name("server"), key.public_key(), days)
        made = made.add_extension(x509.SubjectAlternativeName(said), critical=False)
        signed = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = made.add_extension(signed, critical=False)
        file = self._folder / "server.pem"
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(secret + made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int = 1
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        made = x509.CertificateBuilder(self.name, subject, key, x509.random_serial_number())
        start = now - dt.timedelta(days=2)
        return made.not_valid_before(start).not_valid_after(now + dt.timedelta(days=days))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """An authority this process trusts, as an operator makes it trust a private one."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    dialing._tls.cache_clear()
    yield made
    dialing._tls.cache_clear()


def secure(url: str, host: str = "localhost") -> str:
    """The URL of a provider that speaks TLS."""
    return url.replace("http://127.0.0.1", f"https://{host}")


@pytest.mark.parametrize(("host", "names"), [("localhost", {"dns": "localhost"}), ("127.0.0.1", {"ip": "127.0.0.1"})])
async def test_a_certificate_of_the_host_is_accepted(
    transport: HttpTransport, authority: Authority, host: str, names: dict[str, Any]
) -> None:
    """By name and by address; the connection is kept and used again."""
    async with provider(keep_answering, ssl=authority.server(**names)) as peer:
        assert [await ask(transport, secure(peer.url, host)) for _ in range(3)] == [b"1"] * 3


async def test_the_server_is_told_the_host_and_spoken_http_1_to(transport: HttpTransport, authority: Authority) -> None:
    """Providers share addresses, and choose the certificate by SNI; a server that prefers h2 must not get it."""
    told: list[str | None] = []
    context = authority.server(dns="localhost")
    context.sni_callback = lambda _socket, name, _context: told.append(name)
    chosen: list[str | None] = []

    async def note(peer: Peer) -> None:
        chosen.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await keep_answering(peer)

    async with provider(note, ssl=context) as peer:
        await ask(transport, secure(peer.url, "localhost."))
    assert (told, chosen) == (["localhost"], ["http/1.1"])


@pytest.mark.parametrize("names", [{"dns": "elsewhere.test"}, {"ip": "127.0.0.1"}, {"dns": "localhost", "days": -1}])
async def test_a_certificate_of_another_host_or_time_is_refused(
    transport: HttpTransport, authority: Authority, names: dict[str, Any]
) -> None:
    """Whoever answers there must not see the key; nothing was sent, so that another provider may be asked."""
    async with provider(keep_answering, ssl=authority.server(**names)) as peer:
        with pytest.raises(NotConnectedError, match=NOT_ACCEPTED):
            await ask(transport, secure(peer.url))
        await peer.has_open(0)


async def test_an_unknown_authority_is_refused(
    transport: HttpTransport, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default: only the system's authorities count."""
    monkeypatch.delenv("SSL_CERT_FILE")
    dialing._tls.cache_clear()
    async with provider(keep_answering, ssl=authority.server(dns="localhost")) as peer:
        with pytest.raises(NotConnectedError, match=NOT_ACCEPTED):
            await ask(transport, secure(peer.url))


async def test_a_server_without_tls_is_not_spoken_to(transport: HttpTransport, authority: Authority) -> None:
    """An https URL never falls back."""

    async def plain(peer: Peer) -> None:
        await peer.reader.read(64)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    async with provider(plain) as peer:
        with pytest.raises(NotConnectedError, match=r"^the TLS handshake failed$"):
            await ask(transport, secure(peer.url))


async def test_a_stream_over_tls_is_held_back_too(transport: HttpTransport, authority: Authority) -> None:
    """Records are decrypted ahead of the reader; what waits must stay bounded all the same, and arrive whole."""
    size = 24 * 1024 * 1024

    async def pour(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(24):
            await peer.send(bytes(size // 24))
        await peer.request()
        await peer.answer()

    async with provider(pour, ssl=authority.server(dns="localhost")) as peer:
        found = await transport(to(secure(peer.url)))
        await asyncio.sleep(0.2)
        assert found._size < 4 * 1024 * 1024
        assert sum([len(piece) async for piece in found.chunks()]) == size
        assert await ask(transport, secure(peer.url)) == b"ok"
        assert peer.opened == 1
