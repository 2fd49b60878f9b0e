"""From a pattern, the pattern of its beginnings: what a text's end looks like while a match may still be coming.

`ab+c` becomes, in effect, `(a(b+c?)?)?`: a stream may let go of every text whose end does not look like that. Where
this reader does not know a construct it says so, and the caller assumes that a match may begin anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_FLAGS: Final = re.compile(r"\(\?[imsU-]+\)")
_OPEN: Final = re.compile(r"\(\?P?<\w+>|\(\?[imsU]*(?:-[imsU]+)?:|\((?!\?)")
_COUNT: Final = re.compile(r"\{(\d+)(?:(,)(\d*))?\}")
_ESCAPE: Final = re.compile(r"\\(?:x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|[pP]\{\^?\w+\}|[pP]\w|[^pPxQEC0-9])", re.DOTALL)
_CLASS: Final = re.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|\\(?:[pP]\{\^?\w+\}|x\{[0-9A-Fa-f]+\}|.)|[^\]\\])*\]", re.DOTALL)
_ZERO_WIDTH: Final = frozenset({r"\A", r"\z", r"\b", r"\B", "^", "$"})
_BARE: Final = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class UnreadableError(ValueError):
    """The pattern holds something this reader does not know."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a pattern: its text, and the text of its beginnings, the empty one included."""

    text: str
    begun: str
    zero_width: bool = False


def beginning(pattern: str) -> str:
    """A pattern that matches every beginning of a match of this one, and whole matches; UnreadableError."""
    flags = _FLAGS.match(pattern)
    start = flags.end() if flags else 0
    reader = _Reader(pattern, start)
    piece = reader.alternatives()
    if reader.at != len(pattern):
        raise UnreadableError("a bracket too many")
    return f"{flags.group() if flags else ''}{piece.begun}"


class _Reader:
    """Reads a pattern from left to right."""

    def __init__(self, pattern: str, at: int) -> None:
        self._pattern = pattern
        self.at = at

    def _peek(self) -> str:
        return self._pattern[self.at : self.at + 1]

    def alternatives(self) -> Piece:
        branches = [self._sequence()]
        while self._peek() == "|":
            self.at += 1
            branches.append(self._sequence())
        text, begun = ("|".join(getattr(b, name) for b in branches) for name in ("text", "begun"))
        return Piece(text, begun)

    def _sequence(self) -> Piece:
        pieces = []
        while self._peek() not in {"", "|", ")"}:
            pieces.append(self._repeated(self._piece()))
        begun = ""
        for piece in reversed(pieces):
            begun = f"(?:{piece.begun}|{piece.text}{begun})" if begun else f"(?:{piece.begun}|{piece.text})"
        return Piece("".join(piece.text for piece in pieces), begun)

    def _piece(self) -> Piece:
        if self._peek() == "(":
            return self._group()
        for form in (_ESCAPE, _CLASS):
            if found := form.match(self._pattern, self.at):
                return self._atom(found.group())
        if self._peek() in {"\\", "["}:
            raise UnreadableError("an escape or a class")
        return self._atom(self._peek())

    def _atom(self, text: str) -> Piece:
        self.at += len(text)
        return Piece(rf"\{text}" if text in {"{", "}"} else text, "", text in _ZERO_WIDTH)

    def _group(self) -> Piece:
        found = _OPEN.match(self._pattern, self.at)
        if not found:
            raise UnreadableError("a group")
        self.at = found.end()
        inner = self.alternatives()
        if self._peek() != ")":
            raise UnreadableError("an open group")
        self.at += 1
        opened = found.group() if found.group().endswith(":") else "(?:"
        return Piece(f"{opened}{inner.text})", f"{opened}{inner.begun})")

    def _repeated(self, piece: Piece) -> Piece:
        span = self._span()
        if span is None:
            return piece
        if piece.zero_width or self._span() is not None:
            raise UnreadableError("a repetition")
        least, most = span
        if most == 0:
            return Piece("(?:)", "")
        fewer = "*" if most is None else f"{{0,{most - 1}}}"
        text = f"{piece.text}{{{least},{'' if most is None else most}}}"
        return Piece(text, f"(?:{piece.text}{fewer}(?:{piece.begun}))")

    def _span(self) -> tuple[int, int | None] | None:
        """A quantifier, lazy or not: how often at least and at most."""
        sign = self._peek()
        span: tuple[int, int | None] | None = None
        if sign and sign in _BARE:
            span, self.at = _BARE[sign], self.at + 1
        elif found := _COUNT.match(self._pattern, self.at):
            low, comma, high = found.groups()
            span = int(low), (int(high) if high else None) if comma else int(low)
            self.at = found.end()
        if span is not None and self._peek() == "?":
            self.at += 1
        return span
