"""A text that passes piece by piece through a pattern: what is decided goes on, what may become a match waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from app.gateway.patterns import Linear

LONGEST: Final = 8192
# What is done with a match: the text that takes its place, or a Problem.
Act = Callable[[Any], str]


class Flow:
    """Replaces matches in a text, whichever pieces it comes in: the sum of what leaves is the same for all of them.

    A text waits while its end may be the beginning of a match, up to `longest` characters; a match three quarters as
    long is always found. What is longer is cut there, by its place in the text and not by how the pieces fell.
    """

    __slots__ = ("_act", "_before", "_held", "_longest", "_pattern")

    def __init__(self, pattern: Linear, act: Act, longest: int = LONGEST) -> None:
        self._pattern = pattern
        self._act = act
        self._longest = longest
        self._held = ""
        self._before = ""  # the last character that left: word boundaries and `^` depend on it

    def feed(self, text: str) -> str:
        """What may leave now that this piece came."""
        out: list[str] = []
        room = self._longest + 1
        while text:
            taken = room - len(self._held)
            self._held += text[:taken]
            text = text[taken:]
            self._decide(out)
        return "".join(out)

    def end(self) -> str:
        """The rest: no more is to come."""
        out: list[str] = []
        buffer, at = self._before + self._held, len(self._before)
        while (found := self._next(buffer, at)) is not None:
            out += (buffer[at : found.start()], self._act(found))
            at = found.end()
        self._held = self._before = ""
        return "".join((*out, buffer[at:]))

    def _decide(self, out: list[str]) -> None:
        """Let go of what no further character can change."""
        buffer, at = self._before + self._held, len(self._before)
        while True:
            open_at = self._open(buffer, at)
            found = self._next(buffer, at)
            if len(buffer) - at > self._longest and open_at == at:
                open_at = at + max(1, self._longest // 4)
            if found is None or found.start() >= open_at:
                out.append(buffer[at:open_at])
                at = open_at
                break
            out += (buffer[at : found.start()], self._act(found))
            at = found.end()
        self._before, self._held = buffer[at - 1 : at] if at else "", buffer[at:]

    def _next(self, buffer: str, at: int) -> Any:
        """The next match that is not empty."""
        found = self._pattern.match.search(buffer, at)
        while found is not None and found.end() == found.start():
            at = found.end() + 1
            found = self._pattern.match.search(buffer, at) if at <= len(buffer) else None
        return found

    def _open(self, buffer: str, at: int) -> int:
        """Where the undecided end begins."""
        if self._pattern.begun is None:
            return at
        found = self._pattern.begun.search(buffer, at)
        return len(buffer) if found is None else int(found.start())
