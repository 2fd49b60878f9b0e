"""robots.txt (RFC 9309): what a site lets automatic clients read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.outbound.web_addresses import escaped

# At least 500 KiB must be read (RFC 9309 §2.5); what comes after does not count.
MOST_BYTES: Final = 500 * 1024
TOKEN: Final = re.compile(r"[A-Za-z_-]+")
ANYONE: Final = "*"
RULES: Final = ("allow", "disallow")


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for one client: (pattern, whether it allows)."""

    rules: tuple[tuple[str, bool], ...] = ()

    def allow(self, target: str) -> bool:
        """Whether a path with its query may be read: the longest pattern that matches decides, allowing in a tie."""
        matching = [(len(pattern), allows) for pattern, allows in self.rules if _matches(pattern, target)]
        return max(matching, default=(0, True))[1]


EVERYTHING: Final = Rules()
NOTHING: Final = Rules((("/", False),))


def parse(text: str, client: str) -> Rules:
    """The rules for a client by its product token, or those for anyone when none name it."""
    groups: dict[str, list[tuple[str, bool]]] = {}
    named: list[str] = []
    in_rules = False
    for key, value in _lines(text):
        if key == "user-agent":
            named = named if not in_rules else []
            named.append(_token(value))
            groups.setdefault(named[-1], [])
            in_rules = False
        elif key in RULES:
            in_rules = True
            for name in named if value else ():
                groups[name].append((escaped(value), key == "allow"))
    return Rules(tuple(groups.get(client.lower(), groups.get(ANYONE, ()))))


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield key.strip().lower(), value.strip()


def _token(value: str) -> str:
    found = TOKEN.match(value)
    return found[0].lower() if found else value[:1]


def _matches(pattern: str, target: str) -> bool:
    """Whether a pattern, with * for anything and $ for the end, matches the beginning of a target; in linear time."""
    ends = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not target.startswith(first):
        return False
    if not rest:
        return not ends or len(target) == len(first)
    at = len(first)
    for part in rest[:-1] if ends else rest:
        found = target.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return not ends or (target.endswith(rest[-1]) and len(target) - len(rest[-1]) >= at)
