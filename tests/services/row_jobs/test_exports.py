"""Exports: what is read back is what was in the rows, and nothing of it is worked out by a spreadsheet."""

from __future__ import annotations

import csv
import re
import tracemalloc
from io import BytesIO, StringIO
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from app.problems import Problem
from app.services.row_jobs import exports
from app.services.row_jobs.columns import seen
from app.services.row_jobs.exports.cells import inert, text
from support.rows import ROWS, Json

TRIGGERS = "=+-@\t\r\n＝＋－＠"
DANGEROUS = ['=HYPERLINK("http://x")', "+SUM(A1)", "-1+A1", "@now()", "\t=1", "\r=1", "\n=1", " =1+1", "＝1", "-", "+"]
PLAIN = ["-12", "-1.5", "-1,5", "+5", "+33612345678", "+33 6 12 34 56 78", "+1 (555) 010.0100", "1e5", "-2e-5", ""]


def written(format_: str, columns: list[str], rows: list[Json]) -> bytes:
    """The file's bytes."""
    out = BytesIO()
    exports.write(format_, columns, rows, out)
    return out.getvalue()


def read_csv(raw: bytes) -> list[list[str]]:
    """The cells as a program reads them."""
    return list(csv.reader(StringIO(raw.decode("utf-8-sig"), newline=""), delimiter=";"))


def read_xlsx(raw: bytes) -> list[list[Any]]:
    """The cells as a spreadsheet reads them: (type, value)."""
    [sheet] = load_workbook(BytesIO(raw)).worksheets
    return [[(cell.data_type, cell.value) for cell in row] for row in sheet.iter_rows()]


@settings(deadline=None)
@given(ROWS.filter(seen))
def test_csv_reads_back_as_it_was_written(rows: list[Json]) -> None:
    """Quotes, semicolons and line ends included; only a formula has a quote before it."""
    columns = seen(rows)
    head, *lines = read_csv(written("csv", columns, rows))
    assert head == [inert(name) for name in columns]
    assert lines == [[inert(text(row.get(name))) for name in columns] for row in rows]


@settings(deadline=None)
@given(st.lists(st.text(alphabet=st.sampled_from([*TRIGGERS, *' 1a;"']), max_size=6), min_size=1))
def test_no_exported_cell_begins_a_formula(cells: list[str]) -> None:
    """A stranger's text must not run in the reader's spreadsheet: what still begins so has digits only."""
    raw = written("csv", ["own"], [{"own": cell} for cell in cells])
    for (found,) in read_csv(raw)[1:]:
        assert found.lstrip()[:1] not in {*TRIGGERS} or set(found) <= set("+-0123456789 .,")


@pytest.mark.parametrize("cell", DANGEROUS)
def test_a_formula_is_only_a_text(cell: str) -> None:
    """In CSV behind a quote, in a workbook in a cell of text that stays one when it is edited."""
    assert read_csv(written("csv", ["own"], [{"own": cell}]))[1] == ["'" + cell]
    raw = written("xlsx", [cell], [{cell: cell}])
    assert {kind for row in read_xlsx(raw) for kind, _ in row} == {"s"}
    [sheet] = load_workbook(BytesIO(raw)).worksheets
    assert all(cell.quotePrefix for row in sheet.iter_rows() for cell in row)


def test_a_header_is_no_formula_either() -> None:
    """The names of columns come from strangers too."""
    assert read_csv(written("csv", ["=1+1"], []))[0] == ["'=1+1"]


@pytest.mark.parametrize("cell", PLAIN)
def test_numbers_and_telephones_are_not_spoilt(cell: str) -> None:
    """A minus or a plus before digits is no formula."""
    assert read_csv(written("csv", ["own", "x"], [{"own": cell}]))[1] == [cell, ""]
    assert read_xlsx(written("xlsx", ["own", "x"], [{"own": cell, "x": 1}]))[1][0] == (
        ("s", cell) if cell else ("n", None)
    )


def test_csv_has_the_mark_and_the_separator_spreadsheets_look_for() -> None:
    """Without either, accents and columns are lost on opening."""
    raw = written("csv", ["nom", "note"], [{"nom": "Été", "note": 4.5}])
    assert raw == b"\xef\xbb\xbfnom;note\r\n\xc3\x89t\xc3\xa9;4.5\r\n"


def test_json_has_every_column_in_every_row() -> None:
    """Programs do not have to ask twice; values keep their types."""
    raw = written("json", ["a", "b"], [{"a": [1, {"x": None}], "c": 1}, {"b": "=1"}])
    assert orjson.loads(raw) == [{"a": [1, {"x": None}], "b": None}, {"a": None, "b": "=1"}]
    assert orjson.loads(written("json", ["a"], [])) == []


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_json_reads_back_as_it_was_written(rows: list[Json]) -> None:
    """Whatever is in the cells."""
    columns = seen(rows)
    assert orjson.loads(written("json", columns, rows)) == [{c: row.get(c) for c in columns} for row in rows]


def test_a_workbook_keeps_types() -> None:
    """Numbers can be summed; an identifier longer than a double holds stays what it is."""
    rows = [{"a": 4.5, "b": True, "c": "0612", "d": 12345678901234567890, "e": ["x", "y"], "f": {"k": 1}, "g": None}]
    line = read_xlsx(written("xlsx", list("abcdefg"), rows))[1]
    assert line[:4] == [("n", 4.5), ("b", True), ("s", "0612"), ("s", "12345678901234567890")]
    assert line[4:] == [("s", "x, y"), ("s", '{"k":1}'), ("n", None)]


def test_a_workbook_takes_any_text() -> None:
    """Control characters, markup and more than a cell holds: the file still opens."""
    rows = [{"a": "\x00\x0b<b>&amp;_x0041_"}, {"a": "x" * 40_000}]
    [_, one, two] = read_xlsx(written("xlsx", ["a"], rows))
    escaped = re.compile("_x([0-9A-F]{4})_")  # ECMA-376 part 1, §22.9.2.19
    assert escaped.sub(lambda m: chr(int(m[1], 16)), one[0][1]) == rows[0]["a"]
    assert len(two[0][1]) == 32_767


def test_more_columns_than_a_sheet_holds_are_refused() -> None:
    """Dropping some would be a lie; CSV has no such limit."""
    columns = [f"c{i}" for i in range(16_385)]
    with pytest.raises(Problem, match="16384 columns"):
        written("xlsx", columns, [])
    assert len(read_csv(written("csv", columns, []))[0]) == 16_385


def test_another_format_is_refused() -> None:
    """The caller is told which there are."""
    with pytest.raises(Problem) as refused:
        written("pdf", [], [])
    assert refused.value.issues[0].expected == ["csv", "json", "xlsx"]


@pytest.mark.parametrize("format_", ["csv", "json", "xlsx"])
def test_a_large_result_is_never_all_in_memory(format_: str, tmp_path: Path) -> None:
    """Rows come from a database as they are written; a worker must not hold a hundred thousand of them."""
    rows = ({"a": f"row {i}", "b": "x" * 200} for i in takewhile(lambda i: i < 10_000, count()))
    with (tmp_path / "out").open("wb") as out:
        tracemalloc.start()
        exports.write(format_, ["a", "b"], rows, out)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (tmp_path / "out").stat().st_size > 10_000
    assert peak < 2_000_000
