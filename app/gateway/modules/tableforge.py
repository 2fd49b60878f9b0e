"""Table forge: repairs the tables of answers, and writes them in the form that is wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.tables import FORMS, Table, head_of, is_sound, table_of
from app.gateway.steps import Module, Steps

MARKDOWN: Final = "markdown"
FENCES: Final = ("```", "~~~")
QUOTE: Final = ">"
# The head and the rule.
NO_ROWS: Final = 2
# Characters of a line that are waited for, and of a table; what is longer passes as it is.
LONGEST_LINE: Final = 8_192
LONGEST_TABLE: Final = 500_000


class Tableforge(Module):
    """The same for plain answers and streams, which come line by line; code is left alone."""

    COUNTS = ("tables", "repaired", "left")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """A line of text after another."""
        form, most = settings["output"], settings["max_rows"]

        def texts(_exchange: Exchange) -> Lines:
            return Lines(form, most, self.counted)

        return Steps(spoken=texts)


class Lines:
    """One text on its way out: lines that may be a table wait for its end."""

    __slots__ = ("_begun", "_counted", "_ended", "_fence", "_form", "_held", "_long", "_most", "_passing", "_size")

    def __init__(self, form: str, most: int, counted: Counter[str]) -> None:
        self._form, self._most, self._counted = form, most, counted
        self._begun = self._ended = self._fence = ""
        self._held: list[str] = []
        self._size = 0
        self._long = self._passing = False  # the line, or the table, is more than is held

    def feed(self, text: str) -> str:
        """What may leave now."""
        *lines, self._begun = (self._begun + text).split("\n")
        out = [self._line(line, "\n") for line in lines]
        if self._long or len(self._begun) > LONGEST_LINE:
            out += (self._table(), self._begun)
            self._begun, self._long, self._passing = "", True, False
        return "".join(out)

    def end(self) -> str:
        """The rest."""
        last, self._begun = self._begun, ""
        return self._line(last, "") + self._table()

    def _line(self, line: str, end: str) -> str:
        """What may leave now that a line is whole."""
        long, self._long = self._long or len(line) > LONGEST_LINE, False
        is_row = "|" in line and not (self._fence or long or line.lstrip().startswith(QUOTE))
        if is_row:
            return line + end if self._passing else self._row(line, end)
        self._passing = False
        mark = "" if long else line.lstrip()[:3]
        if mark in FENCES and self._fence in {"", mark}:
            self._fence = "" if self._fence else mark
        return self._table() + line + end

    def _row(self, line: str, end: str) -> str:
        self._held.append(line)
        self._size += len(line)
        self._ended = end
        if len(self._held) <= self._most + NO_ROWS and self._size <= LONGEST_TABLE:
            return ""
        self._counted["left"] += 1
        self._passing = True
        return "\n".join(self._taken()) + end

    def _table(self) -> str:
        """What was held, repaired if it is a table."""
        lines = self._taken()
        at = head_of(lines)
        table = table_of(lines[at:])
        if table is not None:
            self._counted["tables"] += 1
            if self._form != MARKDOWN or not is_sound(lines[at:], table):
                self._counted["repaired"] += 1
                lines = [*lines[:at], *self._written(table, lines[at])]
        return "\n".join(lines) + self._ended if lines else ""

    def _written(self, table: Table, first: str) -> list[str]:
        """The lines of the table, as far in as it was."""
        inset = first[: len(first) - len(first.lstrip())]
        return [inset + line for line in FORMS[self._form](table).split("\n")]

    def _taken(self) -> list[str]:
        held, self._held, self._size = self._held, [], 0
        return held
