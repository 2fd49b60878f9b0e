"""Signatures: what kind of image some bytes are, and how large, told by the first of them and never by pixels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

Size = tuple[int, int]

# A photograph's preview and colour profile come before its size.
HEAD: Final = 262_144
# A file in which more segments come before its size is none that a camera wrote.
MOST_SEGMENTS: Final = 1_000
MOST_FRAMES: Final = 1_000
BRANDS: Final = {b"avif": "avif", b"avis": "avif"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "heic"
)
MAGIC: Final = (
    (re.compile(rb"\xff\xd8\xff"), "jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"BM.{12}[\x0c\x28\x6c\x7c]\0\0\0", re.DOTALL), "bmp"),
)
FILL: Final = re.compile(rb"\xff*")
# Start of frame, by any of its codings; the three between are tables.
FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
OLD_BMP: Final = 12
# How long the heads of these two forms of WebP are.
EXTENDED: Final = 30
LOSSLESS: Final = 25


def kind_of(head: bytes) -> str:
    """The kind of image that begins so; empty when it is none that is known."""
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "")
    return next((kind for magic, kind in MAGIC if magic.match(head)), "")


def size_of(kind: str, head: bytes) -> Size | None:
    """Width and height, in pixels; None when the beginning does not tell."""
    size = SIZES[kind](head)
    return size if size and all(size) else None


def _number(head: bytes, first: int, last: int, order: str = "little") -> int:
    """The number at these places; 0 where the bytes end before."""
    return int.from_bytes(head[first:last], "big" if order == "big" else "little") if len(head) >= last else 0


def _png(head: bytes) -> Size:
    return _number(head, 16, 20, "big"), _number(head, 20, 24, "big")


def _gif(head: bytes) -> Size:
    return _number(head, 6, 8), _number(head, 8, 10)


def _bmp(head: bytes) -> Size:
    if _number(head, 14, 18) == OLD_BMP:
        return _number(head, 18, 20), _number(head, 20, 22)
    height = int.from_bytes(head[22:26], "little", signed=True)  # below zero: its rows go from top to bottom
    return _number(head, 18, 22), abs(height)


def _webp(head: bytes) -> Size | None:
    form = head[12:16]
    if form == b"VP8X":
        return (_number(head, 24, 27) + 1, _number(head, 27, 30) + 1) if len(head) >= EXTENDED else None
    if form == b"VP8L":
        packed = _number(head, 21, 25)
        return ((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1) if len(head) >= LOSSLESS else None
    return (_number(head, 26, 28) & 0x3FFF, _number(head, 28, 30) & 0x3FFF) if form == b"VP8 " else None


def _jpeg(head: bytes) -> Size | None:
    at = 2
    for _ in range(MOST_SEGMENTS):
        fill = FILL.match(head, at)
        if fill is None or fill.end() == at:
            return None
        at = fill.end()
        if head[at : at + 1] and head[at] in FRAMES:
            return _number(head, at + 6, at + 8, "big"), _number(head, at + 4, at + 6, "big")
        at += 1 + max(2, _number(head, at + 1, at + 3, "big"))
    return None


def _boxed(head: bytes) -> Size | None:
    """The largest of the sizes it tells: those of its tiles and previews are told beside its own."""
    found: list[Size] = []
    at = head.find(b"ispe")
    while at >= 0 and len(found) < MOST_FRAMES:
        found.append((_number(head, at + 8, at + 12, "big"), _number(head, at + 12, at + 16, "big")))
        at = head.find(b"ispe", at + 4)
    return max(found, key=max, default=None)


SIZES: Final[Mapping[str, Callable[[bytes], Size | None]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "gif": _gif,
    "webp": _webp,
    "bmp": _bmp,
    "avif": _boxed,
    "heic": _boxed,
}
