"""CSV as spreadsheets in most of Europe open it: UTF-8 with its mark, semicolons, lines ended by CR LF."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import TextIOWrapper
from typing import Any, BinaryIO

from app.services.row_jobs.exports.cells import inert, text


def write(columns: list[str], rows: Iterable[dict[str, Any]], out: BinaryIO) -> None:
    """A header, then a line for each row; no cell begins a formula."""
    wrapped = TextIOWrapper(out, encoding="utf-8-sig", errors="replace", newline="", write_through=False)
    try:
        writer = csv.writer(wrapped, delimiter=";", lineterminator="\r\n")
        writer.writerow([inert(name) for name in columns])
        writer.writerows([inert(text(row.get(name))) for name in columns] for row in rows)
    finally:
        wrapped.detach()  # flushes, and leaves `out` open
