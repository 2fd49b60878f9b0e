"""Content codings nobody asked for: gzip and deflate are undone as they come, anything else is refused."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

PIECE: Final = 256 * 1024

# RFC 9110 §8.4.1: `deflate` is the zlib format. The value is zlib's `wbits`.
_WINDOWS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


class Inflater:
    """Undoes one coding incrementally; what it gives comes in bounded pieces, however small the input was."""

    __slots__ = ("_state", "_wbits")

    def __init__(self, coding: bytes) -> None:
        if coding not in _WINDOWS:
            raise ConnectionError("the answer has a content encoding that was not asked for")
        self._wbits = _WINDOWS[coding]
        self._state = zlib.decompressobj(self._wbits)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes these stand for; ConnectionError when they stand for nothing."""
        full = bool(data)
        while data or full:
            if data and self._state.eof:  # gzip files may follow each other (RFC 1952 §2.2)
                self._state = zlib.decompressobj(self._wbits)
            piece = self._inflated(data)
            data = self._state.unconsumed_tail or self._state.unused_data
            full = len(piece) == PIECE
            if piece:
                yield piece

    def end(self) -> None:
        """Take the end of the body; ConnectionError when it is not the end of the data."""
        if not self._state.eof:
            raise ConnectionError("the answer's content encoding is cut short")

    def _inflated(self, data: bytes) -> bytes:
        try:
            return self._state.decompress(data, PIECE)
        except zlib.error:
            raise ConnectionError("the answer's content encoding is damaged") from None


def inflater(coding: bytes) -> Inflater | None:
    """The inflater for a Content-Encoding in lower case; None where the body is plain, ConnectionError if unknown."""
    return Inflater(coding) if coding not in {b"", b"identity"} else None
