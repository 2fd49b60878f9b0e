"""Tables: those a model wrote in Markdown, read as they were meant, and written whole."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from app.gateway.modules.extractml import cells

RULE: Final = re.compile(r":?-+:?")
NUMBER: Final = re.compile(r"[-+]?(?:0|[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d{0,14})(?:\.\d{1,15})?")
QUOTES: Final = ("\"'", "''", '""', "``", "“”", "‘’")
# Rows that a table needs to be taken for one where no line rules its head off.
LEAST_UNRULED: Final = 3
RIGHT: Final = "---:"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the names of its columns, how each is aligned, and its rows, all as wide as the head."""

    names: list[str]
    rules: list[str]
    rows: list[list[str]]


def table_of(lines: Sequence[str]) -> Table | None:
    """The table these lines are; None when they are none. Columns that no name was written for get one."""
    if len(lines) < 2:  # noqa: PLR2004 (a line is no table)
        return None
    lines = ["", *lines] if _is_rule(lines[0]) else lines
    ruled = _is_rule(lines[1])
    if not ruled and (len(lines) < LEAST_UNRULED or not all(map(_is_framed, lines))):
        return None
    head, rules = cells(lines[0]), cells(lines[1]) if ruled else []
    rows = [[_plain(cell) for cell in cells(line)] for line in lines[2 if ruled else 1 :]]
    width = max(map(len, [head, rules, *rows]))
    names = head if any(head) else []
    names = [*names, *(f"Column {at}" for at in range(len(names) + 1, width + 1))]
    rows = [_wide(row, width) for row in rows]
    return Table(names, [_rule(rule, rows, at) for at, rule in enumerate(_wide(rules, width))], rows)


def head_of(lines: Sequence[str]) -> int:
    """Where the table in these lines begins: at the line above the first rule, else with them all."""
    return next((at - 1 for at in range(1, len(lines)) if _is_rule(lines[at])), 0)


def number(cell: str) -> float | None:
    """The number a cell holds, thousands set off by commas or not; None for anything else, as `007` or `5 %`."""
    if NUMBER.fullmatch(cell) is None:
        return None
    plain = cell.replace(",", "")
    return float(plain) if "." in plain else int(plain)


def markdown(table: Table) -> str:
    """The table in Markdown."""
    rows = [table.names, *table.rows]
    head, *body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([head, "| " + " | ".join(table.rules) + " |", *body])


def as_csv(table: Table) -> str:
    """The table as a fenced block of CSV (RFC 4180, lines end as in the rest of the text)."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([table.names, *table.rows])
    return f"```csv\n{out.getvalue()}```"


def as_json(table: Table) -> str:
    """The table as a fenced block of JSON: an object for each row, numbers as numbers, nothing as null."""
    names = _apart(table.names)
    rows = [{name: _value(cell) for name, cell in zip(names, row, strict=True)} for row in table.rows]
    return f"```json\n{orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode()}\n```"


FORMS: Final[Mapping[str, Callable[[Table], str]]] = {"markdown": markdown, "csv": as_csv, "json": as_json}


def is_sound(lines: Sequence[str], table: Table) -> bool:
    """Whether nothing needs to be repaired in these lines."""
    head, *rest = [cells(line) for line in lines]
    ruled = bool(rest) and _is_rule(lines[1]) and len(rest[0]) == len(table.names)
    return ruled and [head, *rest[1:]] == [table.names, *table.rows]


def _is_framed(line: str) -> bool:
    return line.strip().startswith("|") and line.strip().endswith("|") and len(cells(line)) > 1


def _is_rule(line: str) -> bool:
    return "|" in line and all(RULE.fullmatch(cell) for cell in cells(line))


def _rule(given: str, rows: Sequence[Sequence[str]], at: int) -> str:
    """The rule under a name: as it was where it says something, to the right over numbers."""
    if ":" in given:
        return f"{':' if given.startswith(':') else ''}---{':' if given.endswith(':') else ''}"
    held = [row[at] for row in rows if row[at]]
    return RIGHT if held and all(number(cell) is not None for cell in held) else "---"


def _plain(cell: str) -> str:
    """A number in quotes without them; any other cell as it is."""
    quoted = len(cell) > 2 and cell[0] + cell[-1] in QUOTES  # noqa: PLR2004 (two quotes and something between them)
    return cell[1:-1] if quoted and number(cell[1:-1]) is not None else cell


def _value(cell: str) -> Any:
    found = number(cell)
    return (cell or None) if found is None else found


def _wide(row: Sequence[str], width: int) -> list[str]:
    return [*row, *[""] * (width - len(row))]


def _apart(names: Sequence[str]) -> list[str]:
    """The names, all of them and no two alike: a number after those that were there already."""
    found: list[str] = []
    for place, written in enumerate(names, start=1):
        name = written or f"Column {place}"
        at, fresh = 2, name
        while fresh in found:
            fresh, at = f"{name} {at}", at + 1
        found.append(fresh)
    return found
