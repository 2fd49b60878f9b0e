"""Pasted and downloaded lists: separator, header and columns found by looking at them, and every guess told."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

from app.services.row_jobs import columns, contents
from app.services.row_jobs.contract import Json

MOST_BYTES: Final = 5 * 1024 * 1024
MOST_ROWS: Final = 10_000
MOST_COLUMNS: Final = 200
LONGEST_NAME: Final = 100
SEPARATORS: Final = {";": "semicolons", ",": "commas", "\t": "tabs"}
# What a guess looks at.
SAMPLE: Final = 50
Line = list[str]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A list as rows under canonical columns where they were recognised, and what was guessed, for people."""

    rows: list[Json]
    notices: tuple[str, ...]


class SheetError(Exception):
    """The list cannot be taken: a sentence for people, and the JSON Schema keyword it is closest to."""

    def __init__(self, message: str, rule: str, expected: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.rule = rule
        self.expected = expected


def read(text: str) -> Sheet:
    """The rows of a delimited text; SheetError when it is empty or larger than 5 MiB, 10,000 rows or 200 columns."""
    if len(text) > MOST_BYTES or len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise SheetError("The list is larger than 5 MiB.", "maxLength", MOST_BYTES)
    plain = text.removeprefix("\ufeff")
    separator = sniff(plain)
    lines = _lines(plain, separator)
    headed = bool(lines) and has_header(lines)
    body = lines[1:] if headed else lines
    width = max(map(len, lines), default=0)
    if not body or len(body) > MOST_ROWS or width > MOST_COLUMNS:
        raise _wrong_size(len(body), width)
    names, notices = _named(lines[0], width) if headed else _guessed(body, width)
    read_as = f"The list was read as separated by {SEPARATORS[separator]}." if width > 1 else ""
    return Sheet([_row(names, line) for line in body], tuple(filter(None, (read_as, *notices))))


def _wrong_size(rows: int, width: int) -> SheetError:
    if rows > MOST_ROWS:
        return SheetError(f"The list has more than {MOST_ROWS} rows.", "maxItems", MOST_ROWS)
    if width > MOST_COLUMNS:
        return SheetError(f"The list has more than {MOST_COLUMNS} columns.", "maxProperties", MOST_COLUMNS)
    return SheetError("The list has no rows.", "minItems", 1)


def sniff(text: str) -> str:
    """The separator that cuts the first lines into the most alike; among equals the one that cuts most."""
    head = text[:65_536]

    def fit(separator: str) -> tuple[float, int]:
        widths = Counter(len(line) for line in _lines(head, separator)[:SAMPLE])
        width, times = max(widths.items(), key=lambda pair: (pair[1], pair[0]), default=(1, 1))
        return (times / widths.total(), width) if width > 1 else (0.0, 0)

    return max(SEPARATORS, key=fit)


def _lines(text: str, separator: str) -> list[Line]:
    """The lines that hold something, cells trimmed; where quotes do not pair they are ordinary characters."""
    try:
        found = list(csv.reader(StringIO(text, newline=""), delimiter=separator))
    except csv.Error:
        found = [line.split(separator) for line in text.splitlines()]
    trimmed = ([cell.strip() for cell in line] for line in found)
    return [line for line in trimmed if any(line)]


def has_header(lines: Sequence[Line]) -> bool:
    """Whether the first line names columns: no cell of it is data, and it has a known name or data below it."""
    first, *body = lines
    named = [columns.canonical(cell) is not None for cell in first]
    if any(contents.kind(cell) for cell, known in zip(first, named, strict=True) if not known):
        return False
    return any(named) or any(contents.column(body[:SAMPLE], at) for at in range(len(first)))


def _named(header: Line, width: int) -> tuple[list[str], list[str]]:
    """Column names by the header, and what was made of it."""
    names: list[str] = []
    notices: list[str] = []
    for at in range(width):
        written = header[at][:LONGEST_NAME] if at < len(header) else ""
        known = columns.canonical(written)
        if known and known not in names and known not in header[at + 1 :]:
            name = known
            notices += [columns.notice(written, known)] if written != known else []
        else:
            name = written or f"column_{at + 1}"
        names.append(_free(name, names))
    return names, notices


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, numbered when another column has it."""
    numbers = (f"{name}_{n}" for n in range(2, len(taken) + 3))
    return name if name not in taken else next(other for other in numbers if other not in taken)


def _guessed(body: Sequence[Line], width: int) -> tuple[list[str], list[str]]:
    """Column names by what the columns hold."""
    found = contents.guess(body[: SAMPLE * 4], width)
    names = [found.get(at, f"column_{at + 1}") for at in range(width)]
    told = [f"Column {at + 1} was read as {name}, by what it holds." for at, name in sorted(found.items())]
    return names, ["The list has no header.", *told]


def _row(names: Sequence[str], line: Line) -> Json:
    """The cells under their names; null where there is nothing."""
    return {name: (line[at] if at < len(line) else "") or None for at, name in enumerate(names)}
