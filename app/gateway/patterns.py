"""Patterns operators write, searched in linear time whatever they are: none of them can make a call hang."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import re2

from app.gateway.viable import UnreadableError, beginning

MOST_MEMORY: Final = 16 * 1024 * 1024


class PatternError(ValueError):
    """A pattern that cannot be used; its text says why, without the pattern."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A compiled pattern. `begun` finds where a text's end may be the beginning of a match; None: anywhere."""

    source: str
    match: Any = field(repr=False)
    begun: Any = field(repr=False)


@lru_cache(maxsize=4096)
def linear(source: str, *, ignore_case: bool = False) -> Linear:
    """The pattern in RE2's syntax (no back-references, no look-around); PatternError when it is none.

    One that matches the empty text is refused too: it would match everywhere.
    """
    found = _compiled(source, ignore_case=ignore_case)
    if found.search("") or found.match("x", 0, 0):
        raise PatternError("it matches the empty text, which is everywhere")
    try:
        begun = _compiled(rf"(?:{beginning(source)})\z", ignore_case=ignore_case, quiet=True)
    except (UnreadableError, PatternError):
        begun = None
    return Linear(source, found, begun)


def _compiled(source: str, *, ignore_case: bool, quiet: bool = False) -> Any:
    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.log_errors = False
    options.max_mem = MOST_MEMORY
    options.never_capture = quiet
    try:
        return re2.compile(source, options)
    except (re2.error, UnicodeError) as error:
        raise PatternError(_reason(error)) from None


def _reason(error: Exception) -> str:
    """What RE2 says, up to the place where it quotes the pattern."""
    said = error.args[0] if error.args else ""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return text.partition(":")[0] or "it is no regular expression"


def is_usable(source: str) -> bool:
    """Whether this is a pattern, or the empty text, which in a setting means none."""
    try:
        return not source or linear(source) is not None
    except PatternError:
        return False
