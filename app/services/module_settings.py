"""A module's settings as they are changed, stored and shown: merged by key, secrets sealed, secrets left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

Json = dict[str, Any]
# No module nests deeper; what does is refused by its schema, and must not exhaust the stack before.
DEEPEST: Final = 8


def merged(held: Json, patch: Json, depth: int = 0) -> Json:
    """The settings after a JSON Merge Patch (RFC 7396): null removes a key, objects merge, anything else replaces."""
    result = {name: value for name, value in held.items() if patch.get(name, value) is not None}
    for name, value in patch.items():
        if isinstance(value, dict) and depth < DEEPEST:
            before = held.get(name)
            result[name] = merged(before if isinstance(before, dict) else {}, value, depth + 1)
        elif value is not None:
            result[name] = value
    return result


def with_secrets(schema: Json, config: Json, change: Callable[[str], str]) -> Json:
    """The settings with `change` made to every secret: sealing before they are stored, unsealing after."""
    changed: Json = _walk(schema, config, change)
    return changed


def without_secrets(schema: Json, config: Json) -> Json:
    """The settings as they may be shown."""
    shown: Json = _walk(schema, config, None)
    return shown


def with_kept(schema: Json, held: Any, wanted: Any) -> Any:
    """What is wanted, with the held secrets that it does not have; an item of a list is known by what is no secret."""
    if isinstance(wanted, dict) and isinstance(held, dict) and "properties" in schema:
        parts = schema["properties"]
        kept = {n: v for n, v in held.items() if parts.get(n, {}).get("writeOnly") and n not in wanted}
        return kept | {n: with_kept(parts.get(n, {}), held.get(n), v) for n, v in wanted.items()}
    if isinstance(wanted, list) and isinstance(held, list) and "items" in schema:
        items = schema["items"]
        bare = [(_walk(items, item, None), item) for item in held]
        return [with_kept(items, _taken(bare, item), item) for item in wanted]
    return wanted


def _taken(bare: list[tuple[Any, Any]], wanted: Any) -> Any:
    """The first item that is shown so; no other item gets its secrets too."""
    place = next((at for at, (shown, _) in enumerate(bare) if shown == wanted), None)
    return None if place is None else bare.pop(place)[1]


def _walk(schema: Json, value: Any, change: Callable[[str], str] | None) -> Any:
    if isinstance(value, dict) and "properties" in schema:
        parts = schema["properties"]
        kept = {n: v for n, v in value.items() if change or not parts.get(n, {}).get("writeOnly")}
        return {name: _walk(parts.get(name, {}), part, change) for name, part in kept.items()}
    if isinstance(value, list) and "items" in schema:
        return [_walk(schema["items"], item, change) for item in value]
    return change(value) if change and schema.get("writeOnly") and isinstance(value, str) else value
