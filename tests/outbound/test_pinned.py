"""Connections to a checked address: TLS is as strict as without the check, and as short."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
import time
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.outbound.fetch import Fetcher, FetchError, Limits
from support.resolving import resolving
from support.site import reply, serving

LOOPBACK = ("127.0.0.1",)


@pytest.fixture
def fetcher() -> Fetcher:
    """The client, let onto one loopback address."""
    return Fetcher(LOOPBACK, limits=Limits(seconds=0.6))


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS for `shop.test`, and the file of the authority that vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.test")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("shop.test"), x509.IPAddress(ip_address("127.0.0.9"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    held, kept = tmp_path / "cert.pem", tmp_path / "key.pem"
    held.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    kept.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(held, kept)
    return context, held


def test_the_certificate_must_be_the_hosts(
    monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher, tls: tuple[ssl.SSLContext, Path]
) -> None:
    """Connecting to a checked address does not loosen TLS: name and authority are verified, and SNI names the host."""
    context, authority = tls
    told: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: told.append(name)
    resolving(monkeypatch, {"shop.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]})
    with serving({"/": reply("safe")}, tls=context) as web:
        with pytest.raises(FetchError, match="certificate is not accepted"):
            fetcher.get(f"https://shop.test:{web.port}/")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert Fetcher(LOOPBACK).get(f"https://shop.test:{web.port}/").text() == "safe"
        assert set(told) == {"shop.test"}
        with pytest.raises(FetchError, match="certificate is not accepted"):
            Fetcher(LOOPBACK).get(f"https://other.test:{web.port}/")


def test_a_tls_handshake_cannot_be_drawn_out(fetcher: Fetcher) -> None:
    """A server that takes the connection and then says one byte at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def stall() -> None:
            peer, _ = listener.accept()
            with peer:
                try:
                    peer.sendall(b"\x16\x03\x03\x40\x00")
                    for _ in range(100):
                        time.sleep(0.05)
                        peer.sendall(b"\x02")
                except OSError:
                    pass

        thread = threading.Thread(target=stall, daemon=True)
        thread.start()
        began = time.monotonic()
        with pytest.raises(FetchError, match=r"no answer within 0\.6 s"):
            fetcher.get(f"https://127.0.0.1:{listener.getsockname()[1]}/")
        assert time.monotonic() - began < 2
        thread.join(5)
