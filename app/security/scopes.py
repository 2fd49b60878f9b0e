"""What a key may be narrowed to: groups of operations, whole or only to read."""

from __future__ import annotations

from collections.abc import Iterable

ALL = "*"
READ = ":read"
EVERYTHING = frozenset({ALL})
READS = frozenset({"get", "head"})


def parse(text: str) -> frozenset[str]:
    """The scopes of a stored list such as `auth:read,proxy`; `*` takes in every other."""
    named = frozenset(text.split(","))
    return EVERYTHING if ALL in named else named


def text_of(scopes: Iterable[str]) -> str:
    """The list as it is stored: each once, in order."""
    return ",".join(sorted(scopes))


def covers(scopes: frozenset[str], tag: str, method: str) -> bool:
    """Whether the scopes admit an operation of this group; `<group>:read` admits its GETs."""
    return ALL in scopes or tag in scopes or (method in READS and tag + READ in scopes)


def within(asked: frozenset[str], held: frozenset[str]) -> bool:
    """Whether `asked` grants nothing that `held` does not."""
    return ALL in held or all(scope in held or scope.removesuffix(READ) in held for scope in asked)
