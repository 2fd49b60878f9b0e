"""Images by their first bytes: kinds, sizes, and what hostile ones cost."""

from __future__ import annotations

import base64
import struct
import time
from typing import Any

import pytest

from app.gateway.modules import signatures
from app.gateway.modules.images import Image, images

Json = dict[str, Any]


def png(width: int = 2, height: int = 2, more: int = 0) -> bytes:
    """The beginning of a PNG of that size, and as many bytes after it."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + bytes(5 + more)


def inline(content: bytes, announced: str = "image/png") -> str:
    """Bytes as a `data:` URL."""
    return f"data:{announced};base64,{base64.b64encode(content).decode()}"


JPEG = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc4\0\x03z\xff\xc2\0\x11\x08" + struct.pack(">HH", 30, 40)
HEADS = {
    "png": png(40, 30),
    "gif": b"GIF89a" + struct.pack("<HH", 40, 30),
    "bmp": b"BM" + bytes(12) + struct.pack("<Iii", 40, 40, -30),
    "jpeg": JPEG,
    "webp": b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\x27\0\0\x1d\0\0",
    "heic": b"\0\0\0\x18ftypheicispe\0\0\0\0" + struct.pack(">II", 9, 9) + b"ispe\0\0\0\0" + struct.pack(">II", 40, 30),
    "avif": b"\0\0\0\x18ftypavif" + bytes(9) + b"ispe\0\0\0\0" + struct.pack(">II", 40, 30),
}


@pytest.mark.parametrize("kind", HEADS)
def test_an_image_is_known_by_its_first_bytes(kind: str) -> None:
    """Its kind, and its size where that is told; cut short anywhere it is judged without a fault."""
    head = HEADS[kind]
    assert (signatures.kind_of(head), signatures.size_of(kind, head)) == (kind, (40, 30))
    for end in range(len(head)):
        if found := signatures.kind_of(head[:end]):
            assert signatures.size_of(found, head[:end]) in (None, (40, 30), (9, 9), (40, 0), (9, 0))


@pytest.mark.parametrize(
    "form", [b"VP8 " + bytes(4) + b"\0\0\0\x9d\x01\x2a\x28\0\x1e\x40", b"VP8L" + bytes(4) + b"\x2f\x27\x40\x07\0"]
)
def test_the_other_forms_of_webp_tell_their_size_too(form: bytes) -> None:
    """One with loss, and one without."""
    assert signatures.size_of("webp", b"RIFF\0\0\0\0WEBP" + form) == (40, 30)


@pytest.mark.parametrize(
    "head", [b"\xff" * signatures.HEAD, b"\xff\xd8\xff" + b"\xfe\0\2\xff" * 65_000, b"ispe" * 65_000]
)
def test_hostile_images_cost_no_time(head: bytes) -> None:
    """Of which the first bytes lead nowhere, a thousand times over."""
    began = time.perf_counter()
    for kind in ("jpeg", "heic"):
        signatures.size_of(kind, head)
    assert time.perf_counter() - began < 0.05


def test_hostile_bodies_cost_no_time() -> None:
    """Ten megabytes inline are not read, and parts within parts not followed for ever."""
    deep: Json = {"type": "image_url", "image_url": {"url": "https://93.184.216.34/"}}
    for _ in range(900):
        deep = {"type": "tool_result", "content": [deep]}
    large = {"type": "image_url", "image_url": {"url": inline(bytes(10_000_000))}}
    body = {"messages": [{"role": "user", "content": [large] * 20}, {"role": "user", "content": [deep]}, "x", 1]}
    began = time.perf_counter()
    found = list(images(body))
    assert sum(one.size for one in found) == 200_000_000
    assert [one.head(9) for one in found] == [bytes(9)] * 20
    assert time.perf_counter() - began < 0.05


def test_bytes_are_counted_without_reading_them() -> None:
    """With padding, without it, and to the byte."""
    for length in range(9):
        text = base64.b64encode(bytes(length)).decode()
        assert Image(text=f"data:,{text}", start=6).size == length
        assert Image(text=text.rstrip("=")).size == length
