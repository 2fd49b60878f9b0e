"""JSON: one array of objects, a line each, with every column in every object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

import orjson


def write(columns: list[str], rows: Iterable[dict[str, Any]], out: BinaryIO) -> None:
    """The rows, null where a row has no such column."""
    before = b"[\n"
    for row in rows:
        out.write(before + orjson.dumps({name: row.get(name) for name in columns}))
        before = b",\n"
    out.write(b"[]\n" if before == b"[\n" else b"\n]\n")
