"""Closing: what is kept of a call is sealed before it reaches a file or a table, or is not kept at all."""

from __future__ import annotations

import logging
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy.orm import Session

from app.security.sealing import Keyring, seal, seal_bytes
from app.services.observing.switched import Settings, enabled
from app.services.trace_record import TraceRecord
from app.services.vault import keys
from app.services.vault.keys import Keys, UnusableKeyError

log = logging.getLogger("yardmaster.vault")
Json = dict[str, Any]
NAME: Final = "encryptvault"
REQUEST, RESPONSE, ERROR, METADATA = "request", "response", "error", "metadata"
# What sealed bytes begin with; no text in UTF-8 does. And what a sealed text begins with.
MARK: Final = b"\xffsealed:"
SEALED: Final = "sealed:"
# The name that sealed metadata has among the rest, and the role of sealed turns.
HELD: Final = "sealed"
# What the server itself reads of a call's metadata; none of it was said in the call.
WORKINGS: Final = frozenset({"guardrails", "canarydeploy", "traceparent", "tracestate", "unsampled", "for", "purpose"})
FOUND, PREVIEW = "guardrails", "preview"
# So many bytes of an error still fit its column once they are sealed.
LONGEST_ERROR: Final = 680
# By then every worker knows a key that one of them does: what they open for each other is not sealed before.
HEARD_S: Final = 5.0
WITHHELD: Final = "What was said of this error is not kept: the key to seal it is not here"
PLAINLY: Final = "What was said of this error is sealed"


def owner_of(id_: str, part: str) -> str:
    """What a part of a call is sealed for."""
    return f"trace:{id_}:{part}"


def is_sealed(body: bytes | None) -> bool:
    """Whether this is a body, and sealed."""
    return body is not None and body.startswith(MARK)


def words(body: bytes) -> str:
    """A body as text, of a sealed one what `opening` opens; one may have been cut inside a character."""
    if not body.startswith(MARK):
        return body.decode("utf-8", "replace")
    version, kid, raw = body.removeprefix(MARK).split(b".", 2)
    return f"{SEALED}{version.decode()}.{kid.decode()}.{b64encode(raw).decode()}"


def plain(error: str | None) -> str:
    """An error as it may be told elsewhere."""
    return PLAINLY if (error or "").startswith(SEALED) else error or ""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is sealed, and under which key; without one it is left out."""

    keys: Keys | None
    fields: frozenset[str]

    @property
    def spoken(self) -> frozenset[str]:
        """Which of the two sides of a call are sealed."""
        return self.fields & {REQUEST, RESPONSE}

    def applied(self, record: TraceRecord) -> TraceRecord:
        """The record as it may be kept."""
        changes: Json = {}
        for part in self.spoken:
            if (body := getattr(record, f"{part}_body")) is not None:
                changes[f"{part}_body"] = self._body(body, owner_of(record.id, part))
        if self.spoken and record.error:  # providers quote what they were asked
            changes[ERROR] = self._error(record)
        return record._replace(**changes, details=self._details(record))

    def _body(self, body: bytes, owner: str) -> bytes | None:
        return MARK + seal_bytes(body, owner, self.keys) if self.keys else None

    def _error(self, record: TraceRecord) -> str:
        said = (record.error or "").encode("utf-8", "replace")[:LONGEST_ERROR].decode("utf-8", "ignore")
        return SEALED + seal(said, owner_of(record.id, ERROR), self.keys) if self.keys else WITHHELD

    def _details(self, record: TraceRecord) -> Mapping[str, Any]:
        told = dict(record.details)
        if self.spoken and isinstance(found := told.get(FOUND), list):
            told[FOUND] = [_unquoted(one) for one in found]
        if METADATA not in self.fields or not told.keys() - WORKINGS:
            return told
        rest = orjson.dumps({name: value for name, value in told.items() if name not in WORKINGS}).decode()
        open_ = {name: value for name, value in told.items() if name in WORKINGS}
        if self.keys is None:
            return open_
        return open_ | {HELD: SEALED + seal(rest, owner_of(record.id, METADATA), self.keys)}

    def turns(self, turns: Sequence[Sequence[str]], owner: str) -> list[list[str]]:
        """Remembered turns as they may be kept; none without a key."""
        if not self.spoken or not turns:
            return [list(turn) for turn in turns]
        return [[HELD, SEALED + seal(orjson.dumps(turns).decode(), owner, self.keys)]] if self.keys else []


def _unquoted(found: Any) -> Any:
    """A finding without a part of what was found."""
    return {name: value for name, value in found.items() if name != PREVIEW} if isinstance(found, dict) else found


class Vault:
    """The rule in force in one worker, and what it did."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter(sealed=0, withheld=0)
        self.rule: Rule | None = None
        # What opens, whether the module is on or not.
        self.opening: Keys | None = None
        self.known_since = 0.0

    def configure(self, settings: Settings, *, on: bool) -> None:
        """Take over the settings."""
        self.rule = rule_of(settings) if on else None
        held = self.rule.keys if self.rule else _keys_of(settings["key_env"])
        if held != self.opening:
            self.opening, self.known_since = held, time.monotonic()

    def closed(self, record: TraceRecord) -> TraceRecord:
        """The record as it may be written, anywhere."""
        rule = self.rule
        return record if rule is None else rule.applied(record)

    def kept(self, record: TraceRecord) -> TraceRecord:
        """The same of what becomes a trace, which is counted."""
        rule = self.rule
        if rule is None:
            return record
        self.counted["sealed" if rule.keys else "withheld"] += 1
        return rule.applied(record)

    def stats(self) -> Json:
        """Calls sealed, calls of which nothing was kept for want of a key, and the key that seals."""
        held = self.rule.keys if self.rule else None
        return {**self.counted, "key": held.current if held else None}


class Keychain:
    """The server's own keys, and the operator's before them while it seals: for answers that are kept for a while."""

    def __init__(self, own: Keyring, vault: Vault) -> None:
        self._own, self._vault = own, vault

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        rule, known = self._vault.rule, time.monotonic() - self._vault.known_since > HEARD_S
        return rule.keys.current if known and rule and rule.keys else self._own.current

    @property
    def keyring(self) -> Mapping[str, bytes]:
        """All of them."""
        held = self._vault.opening
        return {**self._own.keyring, **held.keyring} if held else self._own.keyring


def in_force(session: Session) -> Rule | None:
    """The rule by the stored settings: for those who write beside the lane."""
    settings = enabled(session, NAME)
    return None if settings is None else rule_of(settings)


def rule_of(settings: Settings) -> Rule | None:
    """The rule of these settings. A key that is gone stops no call, but what it would seal is not kept."""
    variable = settings["key_env"]
    if not variable or not settings["fields"]:
        return None
    held = _keys_of(variable)
    if held is None:
        log.error("%s keeps nothing of what calls say: %s holds no key", NAME, variable)
    return Rule(held, frozenset(settings["fields"]))


def _keys_of(variable: str) -> Keys | None:
    try:
        return keys.read(variable) if variable else None
    except UnusableKeyError:
        return None
