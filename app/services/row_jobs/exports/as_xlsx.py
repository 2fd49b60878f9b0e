"""A workbook (Office Open XML): one sheet, texts as texts and numbers as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, BinaryIO, Final

from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from app.problems import Problem
from app.services.row_jobs.exports.cells import is_formula, text

# What a sheet holds at most (Excel specifications and limits).
MOST_COLUMNS: Final = 16_384
LONGEST_CELL: Final = 32_767
# Beyond this a sheet's numbers (IEEE 754 doubles) lose digits, and an identifier would become another.
EXACT: Final = 10**15


def write(columns: list[str], rows: Iterable[dict[str, Any]], out: BinaryIO) -> None:
    """A header, then a line for each row; a Problem when there are more columns than a sheet holds."""
    if len(columns) > MOST_COLUMNS:
        raise Problem(400, f"A sheet holds at most {MOST_COLUMNS} columns; ask for csv or json")
    with Workbook(out, {"constant_memory": True}) as book:
        sheet = book.add_worksheet("results")
        quoted = book.add_format({"quote_prefix": True})
        for at, name in enumerate(columns):
            _write_text(sheet, 0, at, name, quoted)
        for line, row in enumerate(rows, start=1):
            for at, name in enumerate(columns):
                _write(sheet, line, at, row.get(name), quoted)


def _write(sheet: Worksheet, line: int, at: int, value: Any, quoted: Format) -> None:
    if isinstance(value, bool):
        sheet.write_boolean(line, at, value)
    elif isinstance(value, (int, float)) and math.isfinite(value) and abs(value) < EXACT:
        sheet.write_number(line, at, value)
    elif written := text(value):
        _write_text(sheet, line, at, written, quoted)


def _write_text(sheet: Worksheet, line: int, at: int, written: str, quoted: Format) -> None:
    """A text stays one when its cell is edited too, if it could be read as a formula."""
    sheet.write_string(line, at, written[:LONGEST_CELL], quoted if is_formula(written) else None)
