"""Mailboxes as strings: found in cells, told apart by what stands before and after the @."""

from __future__ import annotations

import re
from typing import Any, Final

from app.services.row_jobs import columns
from app.services.row_jobs.word_lists import listed, names

BETWEEN: Final = re.compile(r"[\s,;|<>]+")
# What a function's mailbox may carry besides its name: a number, a town, a sub-address.
AFTER: Final = re.compile(r"[._+-].*|\d+")


def found(cell: Any) -> list[str]:
    """The addresses in a cell, in lower case and order, each once; a cell may hold several, or a list."""
    parts = [str(part) for part in cell] if isinstance(cell, list) else BETWEEN.split(columns.text(cell))
    plain = (part.strip().lower().removeprefix("mailto:").strip("\"'()") for part in parts)
    return list(dict.fromkeys(part for part in plain if "@" in part.strip("@")))


def domain(address: str) -> str:
    """What follows the last @, in lower case and without the root's dot."""
    return address.rpartition("@")[2].lower().rstrip(".")


def is_role(address: str) -> bool:
    """Whether it is a function's mailbox: info@, contact.paris@, no-reply@."""
    local = address.rpartition("@")[0].lower()
    known = names("roles")
    return local in known or AFTER.sub("", local) in known or local.replace("-", "").replace("_", "") in known


def is_disposable(address: str) -> bool:
    """Whether its domain hands out mailboxes for minutes."""
    return listed(domain(address), "disposable")


def is_public(address: str) -> bool:
    """Whether its domain is a provider of mailboxes to anybody."""
    return domain(address) in names("providers")


def quality(cell: Any) -> int | None:
    """How good the best address of a cell is for reaching a person; None when the cell is blank.

    4: a person's at a domain of its own, 3: a person's at a public provider, 2: a function's, 1: one of a domain for
    throwing away, 0: none that can be read.
    """
    if columns.blank(cell):
        return None
    return max(map(_quality, found(cell)), default=0)


def _quality(address: str) -> int:
    if is_disposable(address):
        return 1
    if is_role(address):
        return 2
    return 3 if is_public(address) else 4
