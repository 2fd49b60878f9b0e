"""Gaps between the document and this server, any of which stops the start."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

from app.seam import handler_of
from app.security.authenticator import SCHEMES
from app.spec.operations import Index, SpecError
from app.wire import dialects, limits, pages

Check = Callable[[Index], list[str]]
# The words a dialect may use, by the rule of `x-dialects` they stand in.
KNOWN: Mapping[str, Container[str]] = {
    "errors": dialects.ENVELOPES,
    "pages": pages.STYLES,
    "headers": limits.HEADERS,
}


def refuse_gaps(index: Index) -> None:
    """Raise SpecError listing every promise of the document that this server could not keep."""
    if gaps := [gap for check in CHECKS for gap in check(index)]:
        raise SpecError("the document has gaps:\n" + "\n".join(f"- {gap}" for gap in gaps))


def _dialects(index: Index) -> list[str]:
    manners = index.document["x-dialects"]
    said = [(name, rule, word) for name, m in manners.items() for rule in KNOWN for word in _words(m[rule])]
    return [f"dialect {name}: unknown {rule} {word}" for name, rule, word in said if word not in KNOWN[rule]]


def _words(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def _security(index: Index) -> list[str]:
    used = {(o.id, scheme) for o in index.by_id.values() for r in o.security for scheme in r}
    return [f"{id_}: no verifier for security scheme {scheme}" for id_, scheme in sorted(used) if scheme not in SCHEMES]


def _handlers(index: Index) -> list[str]:
    missing = []
    for operation in index.by_id.values():
        try:
            handler_of(operation)
        except SpecError as error:
            missing.append(str(error))
    return missing


def _planes(index: Index) -> list[str]:
    wrong = [f"{o.id}: unknown plane {o.plane}" for o in index.by_id.values() if o.plane not in {"sync", "async"}]
    return wrong + [
        f"{o.id}: x-limit is enforced on the sync plane only"
        for o in index.by_id.values()
        if o.plane == "async" and o.limit not in {"", "exempt"}
    ]


def _bodies(index: Index) -> list[str]:
    return [
        f"{o.id}: bodies are streamed on the async plane only"
        for o in index.by_id.values()
        if "x-body" in o.raw and (o.raw["x-body"] != "stream" or o.plane != "async")
    ]


CHECKS: tuple[Check, ...] = (_dialects, _security, _handlers, _planes, _bodies)
