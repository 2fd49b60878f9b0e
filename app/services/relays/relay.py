"""A relay as its operator set it: who may send to it, what is asked of which model, and whom that is charged to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app.gateway.modules.conditions import Among, among
from app.problems import Problem, not_found
from app.runtime import runtime
from app.security.sealing import UnsealError, unseal
from app.services.webhooks.shaping import parsed, rendered

log = logging.getLogger("yardmaster.relays")
Json = dict[str, Any]
NAME: Final = "webhookrelay"
MOST_PROMPT: Final = 300_000
LATER_S: Final = 60


@dataclass(frozen=True, slots=True)
class Relay:
    """One relay, its secret opened. `kinds` are the types of payload it takes; None is any."""

    name: str
    model: str
    user: int
    project: str
    max_tokens: int
    per_minute: int
    kinds: Among | None
    prompt: str = field(repr=False)
    secret: str = field(repr=False)

    def takes(self, payload: Json) -> bool:
        """Whether this kind of payload is for it, by its `type`."""
        kind = payload.get("type")
        return self.kinds is None or (isinstance(kind, str) and self.kinds([kind]))

    def asked(self, payload: Json) -> str:
        """What the model is asked; Problem 422 when it cannot be made of this payload."""
        try:
            text = rendered(parsed(self.prompt), payload, MOST_PROMPT)
        except TypeError:  # values nested deeper than they can be written
            text = None
        if text is None:
            raise Problem(422, f"The prompt made of this payload would be larger than {MOST_PROMPT} bytes, or too deep")
        return text


def find(name: str) -> Relay:
    """The relay of that name; Problem 404 when there is none or the module is off, 503 when it cannot be used."""
    config = runtime().gateway.config
    settings = config.of(NAME)
    found = next((one for one in settings["relays"] if one["name"] == name), None) if config.on(NAME) else None
    if found is None:
        raise not_found("The relay")
    return _opened(found, settings["per_minute"])


def _opened(found: Mapping[str, Any], per_minute: int) -> Relay:
    try:
        secret = unseal(found["secret"], f"module:{NAME}", runtime().secrets)
        user = int(found["user"])
    except (UnsealError, KeyError) as error:  # its key is gone, or an earlier release stored it
        log.error("the relay %s cannot be used: %s", found["name"], type(error).__name__)  # noqa: TRY400 (no traceback)
        raise unusable() from None
    kinds = among(found["events"]) if found["events"] else None
    plain = {name: found[name] for name in ("name", "model", "project", "max_tokens", "prompt")}
    return Relay(**plain, user=user, secret=secret, kinds=kinds, per_minute=per_minute)


def unusable() -> Problem:
    """503: the operator has to mend it; who sends comes again."""
    message = "This relay cannot take anything at the moment; its operator has to look at its settings"
    return Problem(503, message, headers={"retry-after": str(LATER_S)})
