"""Guardrail rules as an operator keeps them: made, changed, tried on a text, and what they found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select

from app.gateway.modules.detectors import BLOCK, HIDDEN, LOG, REDACT, WARN
from app.gateway.modules.guardrails import compiled
from app.gateway.patterns import PatternError, linear
from app.problems import Issue, conflict, invalid, not_found
from app.services import audit, revisions
from models.base import session
from models.gateway import Revision
from models.guardrails import Guardrail, GuardrailCount, GuardrailEvent

Json = dict[str, Any]
MOST_RULES = 500
LONGEST_SHOWN = 100
EVERYWHERE = "*"


@dataclass(frozen=True, slots=True)
class Trial:
    """What the rules would do with a text."""

    matches: list[Json]
    would: str
    redacted: str


def find(project: str | None) -> Select[Guardrail]:
    """The rules that apply to a project, its own and everybody's; without one, all of them. The first applies first."""
    found = select(Guardrail).order_by(Guardrail.priority.desc(), Guardrail.id)
    return found.where(Guardrail.project.in_({EVERYWHERE, project})) if project else found


def get(number: int) -> Guardrail:
    """The rule of that number; Problem 404."""
    found = session().get(Guardrail, number)
    if found is None:
        raise not_found("The guardrail")
    return found


def create(body: Json) -> Guardrail:
    """Make a rule, in force within a second everywhere; Problem 400, or 409 for a name in use or too many rules."""
    _take_turn()
    _require_usable(body["pattern"])
    _require_free(body["name"])
    return _add(body)


def _add(body: Json) -> Guardrail:
    if (session().scalar(select(func.count()).select_from(Guardrail)) or 0) >= MOST_RULES:
        raise conflict(f"There are {MOST_RULES} guardrails already")
    rule = Guardrail(**body)
    session().add(rule)
    _changed(rule, "create")
    return rule


def change(number: int, body: Json) -> Guardrail:
    """Change a rule; Problem 400, 404, or 409 for a name in use."""
    _take_turn()
    rule = get(number)
    if "pattern" in body:
        _require_usable(body["pattern"])
    if body.get("name", rule.name) != rule.name:
        _require_free(body["name"])
    return _set(rule, body)


def _set(rule: Guardrail, body: Json) -> Guardrail:
    for name, value in body.items():
        setattr(rule, name, value)
    _changed(rule, "update")
    return rule


def put(name: str, body: Json, at: tuple[str | int, ...]) -> None:
    """Make the rule of that name what a body at this place says, in a turn that was taken; Problem 400, or 409."""
    _require_usable(body["pattern"], at)
    rule = session().scalar(select(Guardrail).where(Guardrail.name == name))
    if rule is None:
        _add(body | {"name": name})
    elif any(getattr(rule, field) != value for field, value in body.items()):
        _set(rule, body)


def remove(number: int) -> None:
    """Remove a rule; Problem 404."""
    _take_turn()
    rule = get(number)
    session().delete(rule)
    _changed(rule, "delete")


def _take_turn() -> None:
    """Wait for others who change settings, so that two rules of one name cannot be made at once."""
    session().execute(select(Revision.number).with_for_update()).one()


def _changed(rule: Guardrail, act: str) -> None:
    session().flush()
    audit.note(f"guardrail.{act}", "guardrail", str(rule.id), name=rule.name)
    revisions.bump()


def _require_usable(pattern: str, at: tuple[str | int, ...] = ("body",)) -> None:
    try:
        linear(pattern, ignore_case=True)
    except PatternError as error:
        form = f"regular expression in RE2's syntax ({error})"
        raise invalid(Issue((*at, "pattern"), "format", form)) from None


def _require_free(name: str) -> None:
    if session().scalar(select(Guardrail.id).where(Guardrail.name == name)) is not None:
        raise conflict("There is a guardrail of that name already", name=name)


def trial(text: str, project: str) -> Trial:
    """What the enabled rules would do with this text, in their order; nothing is counted, stored or sent."""
    matches, would, redacted = [], "pass", text
    for row in session().scalars(find(project).where(Guardrail.enabled)):
        for rule in compiled([row]):
            found = rule.pattern.match.search(redacted)
            if found is None or found.end() == found.start():
                continue
            told = {"rule_name": rule.name, "rule_type": rule.kind, "action": rule.action}
            matches.append(told | {"match": found.group()[:LONGEST_SHOWN]})
            if rule.action == BLOCK:
                return Trial(matches, BLOCK, "")
            if rule.action == REDACT:
                would, redacted = REDACT, rule.pattern.match.sub(HIDDEN, redacted)
    return Trial(matches, would, redacted)


def stats() -> Json:
    """How often rules matched, in every worker, since they were first seen."""
    rows = session().scalars(select(GuardrailCount)).all()
    hits: dict[str, int] = {}
    for row in rows:
        hits[row.rule_name] = hits.get(row.rule_name, 0) + row.hits
    counted = {"blocked": _sum(rows, BLOCK), "flagged": _sum(rows, WARN, LOG), "redacted": _sum(rows, REDACT)}
    return counted | {"rule_hits": dict(sorted(hits.items())[:1000])}


def _sum(rows: Iterable[GuardrailCount], *actions: str) -> int:
    return sum(row.hits for row in rows if row.action in actions)


def events(project: str | None, rule: str | None) -> Select[GuardrailEvent]:
    """What rules found, newest first."""
    found = select(GuardrailEvent).order_by(GuardrailEvent.id.desc())
    found = found.where(GuardrailEvent.project == project) if project else found
    return found.where(GuardrailEvent.rule_name == rule) if rule else found
