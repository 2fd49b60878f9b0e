"""Content codings: undone where a provider sends them unasked, bounded, and never passed on half read."""

from __future__ import annotations

import gzip
import zlib

import pytest

from app.gateway.transport.encoding import PIECE, Inflater, inflater

TEXT = b"When is the train due? " * 40
CODED = {
    b"gzip": gzip.compress(TEXT, mtime=0),
    b"x-gzip": gzip.compress(TEXT, mtime=0),
    b"deflate": zlib.compress(TEXT),
}


@pytest.mark.parametrize("coding", CODED)
def test_a_coded_body_may_be_cut_anywhere(coding: bytes) -> None:
    """A stream's events arrive as the provider flushes them, not in whole files."""
    data = CODED[coding]
    for at in range(1, len(data)):
        found = Inflater(coding)
        assert b"".join([*found.feed(data[:at]), *found.feed(data[at:])]) == TEXT
        found.end()


def test_what_is_flushed_is_given_at_once() -> None:
    """An event that waits for the next one to come out is no stream."""
    packer = zlib.compressobj(wbits=31)
    found = Inflater(b"gzip")
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        assert b"".join(found.feed(packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH))) == event


def test_gzip_files_may_follow_each_other() -> None:
    """RFC 1952 §2.2; some servers make one of every flush."""
    found = Inflater(b"gzip")
    assert b"".join(found.feed(gzip.compress(b"one ", mtime=0) + gzip.compress(b"two", mtime=0))) == b"one two"
    found.end()


def test_a_bomb_comes_out_in_bounded_pieces() -> None:
    """A megabyte of gzip can stand for a gigabyte; whoever reads must be able to stop in between."""
    bomb = gzip.compress(bytes(8 * PIECE + 1), mtime=0)
    assert [len(piece) for piece in Inflater(b"gzip").feed(bomb)] == [PIECE] * 8 + [1]


@pytest.mark.parametrize("coding", CODED)
def test_a_body_cut_short_is_an_error(coding: bytes) -> None:
    """Half an answer must not be taken for a whole one."""
    found = Inflater(coding)
    list(found.feed(CODED[coding][:-1]))
    with pytest.raises(ConnectionError, match="cut short"):
        found.end()


@pytest.mark.parametrize("data", [b"no gzip at all", CODED[b"gzip"] + b"what is this", CODED[b"gzip"][:-8] + bytes(8)])
def test_damage_is_an_error(data: bytes) -> None:
    """Zlib's own exception would reach nobody who expects it."""
    with pytest.raises(ConnectionError, match="damaged"):
        list(Inflater(b"gzip").feed(data))


def test_only_known_codings_are_undone() -> None:
    """Anything else would reach the client as garbage under the wrong label."""
    assert inflater(b"") is None
    assert inflater(b"identity") is None
    for coding in (b"br", b"zstd", b"gzip, gzip"):
        with pytest.raises(ConnectionError, match="not asked for"):
            inflater(coding)
