"""The forms a policy may be sent in, read as its columns: rules by field, one pattern, or a `config` of everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.gateway.money import nano_from_usd
from app.gateway.patterns import PatternError, linear
from app.problems import Issue, invalid

Json = dict[str, Any]
Place = tuple[str | int, ...]
REDACT: Final = "redact"
# What a rule of the contract's form names, and the target that means.
TARGETS: Final[Mapping[str, str]] = {"request.content": "request", "response.content": "response", "content": "both"}
LIMITS: Final = ("models", "max_tokens", "max_cost_nano")
MOST_MODELS: Final = 100
# Of these a body names one at most.
ALTERNATIVES: Final = (("type", "action"), ("rules", "config", "pattern"))


def columns(body: Mapping[str, Any]) -> Json:
    """What a body sets, by column; Problem 400 for what is said twice, or a pattern that cannot be used."""
    for names in ALTERNATIVES:
        _require_one(body, names)
    found: Json = {name: body[name] for name in ("name", "description", "enabled") if name in body}
    if "type" in body or "action" in body:
        found["type"] = body.get("type") or body["action"]
    if "rules" in body:
        found["rules"] = [_rule(rule, ("body", "rules", at)) for at, rule in enumerate(body["rules"])]
    if "pattern" in body:
        found["rules"] = [_only(body, ("body",))]
    if "config" in body:
        found = _config(body["config"]) | found
    return found


def _require_one(body: Mapping[str, Any], names: Sequence[str]) -> None:
    """Problem 400 for a body that says one thing in two ways."""
    first, *others = [name for name in names if name in body] or [""]
    if others:
        raise invalid(Issue(("body", others[0]), "format", f"field beside {first}: leave one of them out"))


def _rule(rule: Mapping[str, Any], at: Place) -> Json:
    _require_usable(rule["pattern"], at)
    return _stored(TARGETS[rule["field"]], rule["pattern"], rule.get("description", ""))


def _only(given: Mapping[str, Any], at: Place) -> Json:
    """The rule of a body that says one pattern and its target."""
    _require_usable(given["pattern"], at)
    return _stored(given.get("target", "response"), given["pattern"], "")


def _stored(target: str, pattern: str, description: str) -> Json:
    return {"target": target, "pattern": pattern, "description": description}


def _config(config: Mapping[str, Any]) -> Json:
    """Everything a policy says: what is not in it the policy does not say."""
    found: Json = {"rules": [_only(config, ("body", "config"))] if "pattern" in config else []}
    found |= {"models": _models(config.get("models", "")), "models_mode": config.get("models_mode", "allow")}
    found |= {"max_tokens": config.get("max_tokens"), "max_cost_nano": None}
    if "max_cost" in config:
        found["max_cost_nano"] = nano_from_usd(float(config["max_cost"]))
    return found | ({"description": config["description"]} if "description" in config else {})


def _models(given: str) -> list[str]:
    names = [name.strip() for name in given.split(",") if name.strip()]
    if (given and not names) or len(names) > MOST_MODELS:
        form = f"list of 1 to {MOST_MODELS} model names or globs with commas between them"
        raise invalid(Issue(("body", "config", "models"), "format", form))
    return names


def _require_usable(pattern: str, at: Place) -> None:
    try:
        linear(pattern, ignore_case=True)
    except PatternError as error:
        form = f"regular expression in RE2's syntax ({error})"
        raise invalid(Issue((*at, "pattern"), "format", form)) from None


def require_whole(held: Mapping[str, Any]) -> None:
    """Problem 400 for a policy that says nothing, or that would redact what is no text."""
    limits = [name for name in LIMITS if held.get(name)]
    if not held.get("rules") and not limits:
        raise invalid(Issue(("body", "config"), "format", "policy with a pattern, models, max_tokens or max_cost"))
    if held["type"] == REDACT and (limits or not held.get("rules")):
        raise invalid(Issue(("body", "config"), "format", "pattern alone: only text can be redacted"))
