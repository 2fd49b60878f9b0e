"""What guardrails and policies found in a call: noted with its trace, never with the text that was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange

Json = dict[str, Any]
FOUND: Final = "guardrails"
INPUT, OUTPUT = "input", "output"
# The kind of what a trust policy found, and what its name then begins with.
POLICY: Final = "policy"
ENFORCER: Final = "trust_enforce"
MOST: Final = 50
# Shorter matches show nothing of themselves: what is left of them would be most of the secret.
LEAST_SHOWN: Final = 20


def note(exchange: Exchange, rule: str, kind: str, action: str, direction: str, preview: str = "") -> None:
    """Count one match of a rule; the recorder makes an event of each rule that matched."""
    held = exchange.details.setdefault(FOUND, [])
    assert isinstance(held, list)  # noqa: S101 (nothing else writes there)
    for found in held:
        if (found["rule"], found["type"], found["action"], found["direction"]) == (rule, kind, action, direction):
            found["matches"] += 1
            return
    if len(held) < MOST:
        told = {"rule": rule, "type": kind, "action": action, "direction": direction, "matches": 1}
        held.append(told | ({"preview": preview} if preview else {}))


def masked(text: str) -> str:
    """The first and last four characters of a long match, and nothing of a short one."""
    return f"{text[:4]}...{text[-4:]}" if len(text) >= LEAST_SHOWN else ""
