"""What guardrails and policies found, told of where traces are stored: one event for each of a batch, never a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import select

from app.gateway.findings import ENFORCER, FOUND, INPUT, POLICY
from app.services.trace_record import TraceRecord
from app.services.webhooks.events import announce
from models.base import now, session
from models.webhooks import WebhookMessage

Json = dict[str, Any]
Found = tuple[TraceRecord, Mapping[str, Any]]
# Rule, type, action, direction, project; of a policy the model too.
Kind = tuple[str, str, str, str, str, str]
VIOLATION: Final = "guardrail.violation"
DISTRUST: Final = "trust.violation"
PII: Final = "upgrade.pii_detected"
MOST_KINDS: Final = 20
MOST_NAMED: Final = 10
COOLDOWN: Final = timedelta(hours=6)


def tell(rows: Iterable[TraceRecord]) -> None:
    """Announce what newly stored calls' guardrails and policies found; personal data again only after six hours."""
    kinds = _by_kind(rows)
    _announce(VIOLATION, _violation, {kind: found for kind, found in kinds.items() if kind[1] != POLICY})
    _announce(DISTRUST, _distrust, {kind: found for kind, found in kinds.items() if kind[1] == POLICY})
    personal = [one for kind, found in kinds.items() if kind[1] == "pii" for one in found]
    if personal and not _told_lately():
        announce(PII, _report(personal))


def _announce(type_: str, told: Callable[[Kind, Sequence[Found]], Json], kinds: Mapping[Kind, Sequence[Found]]) -> None:
    for kind, found in list(kinds.items())[:MOST_KINDS]:
        announce(type_, told(kind, found))
    if rest := [one for found in list(kinds.values())[MOST_KINDS:] for one in found]:
        name, whose = ("rule", "rules") if type_ == VIOLATION else ("policy", "policies")
        further = {"count": len(rest), name: f"{len(kinds) - MOST_KINDS} further {whose} or projects"}
        announce(type_, further | {"matches": _matches(rest)})


def _by_kind(rows: Iterable[TraceRecord]) -> dict[Kind, list[Found]]:
    kinds: dict[Kind, list[Found]] = {}
    for row in rows:
        for one in row.details.get(FOUND, ()):
            model = row.model if one["type"] == POLICY else ""
            kind = (one["rule"], one["type"], one["action"], one["direction"], row.project, model)
            kinds.setdefault(kind, []).append((row, one))
    return kinds


def _violation(kind: Kind, found: Sequence[Found]) -> Json:
    rule, type_, action, direction, project, _ = kind
    return {
        "count": len(found),
        "rule": rule,
        "rule_type": type_,
        "action": action,
        "direction": direction,
        "project": project,
        "matches": _matches(found),
        "models": sorted({row.model for row, _ in found})[:MOST_NAMED],
        "trace_ids": [row.id for row, _ in found[:MOST_NAMED]],
    }


def _distrust(kind: Kind, found: Sequence[Found]) -> Json:
    rule, _, action, direction, project, model = kind
    return {
        "count": len(found),
        "policy": rule.removeprefix(f"{ENFORCER}."),
        "type": action,
        "model": model,
        "direction": "request" if direction == INPUT else "response",
        "project": project,
        "matches": _matches(found),
        "trace_ids": [row.id for row, _ in found[:MOST_NAMED]],
    }


def _matches(found: Iterable[Found]) -> int:
    return sum(one["matches"] for _, one in found)


def _told_lately() -> bool:
    told = (WebhookMessage.event_type == PII, WebhookMessage.created_at > now() - COOLDOWN)
    return session().scalar(select(WebhookMessage.id).where(*told).limit(1)) is not None


def _report(found: Sequence[Found]) -> Json:
    rules = sorted({one["rule"] for _, one in found})[:MOST_NAMED]
    told = {"title": "Personal data in model calls", "message": f"Found by {', '.join(rules)}."}
    return told | {"details": {"matches": _matches(found), "trace_ids": [row.id for row, _ in found[:MOST_NAMED]]}}
