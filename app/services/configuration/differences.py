"""What differs between two configurations, named by JSON Pointers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from app.services.configuration.snapshot import State

Json = dict[str, Any]


def pointer(*parts: str) -> str:
    """A JSON Pointer (RFC 6901 §3)."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def between(current: State, incoming: State, *, whole: bool) -> list[Json]:
    """Each difference: `path`, `op`, `current` and `incoming`.

    `whole`: both are complete, so that what only the first has counts as removed. Otherwise the second says what an
    import would set: that leaves alone what it does not name.
    """
    return [found for section in incoming for found in _section(section, current, incoming, whole=whole)]


def summary(found: list[Json]) -> Json:
    """The differences with their counts, as clients of two generations read them."""
    counted = Counter(entry["op"] for entry in found)
    names = {"additions": "add", "removals": "remove", "modifications": "modify"}
    return {"changes": len(found), "diffs": found} | {name: counted[op] for name, op in names.items()}


def _section(section: str, current: State, incoming: State, *, whole: bool) -> Iterator[Json]:
    held, wanted = current.get(section, {}), incoming[section]
    for name, entry in wanted.items():
        if name in held:
            yield from _entry(pointer(section, name), held[name], entry, whole=whole)
        else:
            yield {"path": pointer(section, name), "op": "add", "incoming": entry}
    if whole:
        yield from ({"path": pointer(section, n), "op": "remove", "current": held[n]} for n in held if n not in wanted)


def _entry(at: str, held: Mapping[str, Any], wanted: Mapping[str, Any], *, whole: bool) -> Iterator[Json]:
    """Objects are compared field by field; lists and plain values as they are."""
    for name, value in wanted.items():
        here, before = at + pointer(name), held.get(name)
        if name not in held:
            yield {"path": here, "op": "add", "incoming": value}
        elif isinstance(value, dict) and isinstance(before, dict):
            yield from _entry(here, before, value, whole=whole)
        elif value != before or isinstance(value, bool) != isinstance(before, bool):
            yield {"path": here, "op": "modify", "current": before, "incoming": value}
    if whole:
        yield from ({"path": at + pointer(n), "op": "remove", "current": held[n]} for n in held if n not in wanted)
