"""The gateway's modules as an operator sees and sets them: the catalogue, and over it what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sqlalchemy import select

from app.gateway.chain import ORDER
from app.gateway.modules.catalogue import CATALOGUE, ModuleEntry, canonical, complete_config, validate_config
from app.problems import Problem, conflict, invalid, malformed, not_found
from app.runtime import runtime
from app.security.sealing import UnsealError, seal, unseal
from app.services import revisions
from app.services.module_settings import merged, with_kept, with_secrets, without_secrets
from app.services.vault import keys
from app.services.vault.closing import NAME as VAULT
from app.services.vault.keys import UnusableKeyError
from app.services.webhooks import announce
from models.base import now, session
from models.gateway import ModuleState, Revision

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """A module: its entry in the catalogue, and its stored state when it ever had one."""

    entry: ModuleEntry
    state: ModuleState | None = None

    @property
    def enabled(self) -> bool:
        """Whether calls pass through it now."""
        if self.state is None:
            return self.entry.enabled
        return self.entry.implemented and (self.state.enabled or self.entry.required)

    @property
    def priority(self) -> int:
        """Its place in lists."""
        return self.entry.priority if self.state is None else self.state.priority

    @property
    def config(self) -> Json:
        """Every setting, secrets left out."""
        stored = {} if self.state is None else self.state.config
        return without_secrets(self.entry.config_schema, complete_config(self.entry.name, stored))

    @property
    def version(self) -> int:
        """How often its settings were changed."""
        return 0 if self.state is None else self.state.version

    @property
    def etag(self) -> str:
        """The version as an entity tag (RFC 9110 §8.8.3)."""
        return f'"{self.version}"'

    @property
    def in_chain(self) -> bool:
        """Whether every call passes through it, when it is switched on."""
        return self.entry.name in ORDER


@dataclass(frozen=True, slots=True)
class Change:
    """What to change of a module; None leaves it as it is. `config` is a merge patch, `flat` the same at the top.

    `whole` replaces all settings but the secrets it does not have. `at` is where the settings stand in the request.
    """

    enabled: bool | None = None
    priority: int | None = None
    config: Json = field(default_factory=dict)
    flat: Json = field(default_factory=dict)
    whole: Json | None = None
    at: tuple[str | int, ...] = ("body", "config")


@dataclass(frozen=True, slots=True)
class Toggled:
    """What switching several modules came to: names."""

    affected: list[str]
    unknown: list[str]
    skipped: list[str]


def find(category: str | None = None, *, enabled: bool | None = None, implemented: bool | None = None) -> list[Known]:
    """The modules that match, by priority and then name."""
    states = {state.name: state for state in session().scalars(select(ModuleState))}
    known = (Known(entry, states.get(name)) for name, entry in CATALOGUE.items())
    found = [
        module
        for module in known
        if category in {None, module.entry.category}
        and enabled in {None, module.enabled}
        and implemented in {None, module.entry.implemented}
    ]
    return sorted(found, key=lambda module: (module.priority, module.entry.name))


def chain() -> list[Known]:
    """The modules every call passes through, in the order they act."""
    return [get(name) for name in ORDER]


def get(name: str) -> Known:
    """The module of that name or alias; Problem 404 when there is none."""
    public = canonical(name)
    if public is None:
        raise not_found("The module")
    return Known(CATALOGUE[public], session().get(ModuleState, public))


def change(name: str, wanted: Change, if_match: str | None = None) -> Known:
    """Change a module; Problem 404, 409, 412, or 400 with every setting that is wrong."""
    take_turn()
    module = get(name)
    _require_match(if_match, module)
    if wanted.enabled is not None:
        _require_switchable(module.entry, enabled=wanted.enabled)
    return _store(module, wanted)


def toggle(wanted: Mapping[str, bool]) -> Toggled:
    """Switch modules by name or alias, all or none; Problem 409 names those that cannot be switched so."""
    take_turn()
    found = {public: state for name, state in wanted.items() if (public := canonical(name))}
    stuck = [name for name, state in found.items() if why_stuck(CATALOGUE[name], enabled=state)]
    if stuck:
        reasons = "; ".join(str(why_stuck(CATALOGUE[name], enabled=found[name])) for name in stuck[:3])
        raise conflict(f"Nothing was changed: {reasons}", modules=stuck)
    for name, state in found.items():
        _store(get(name), Change(enabled=state))
    return Toggled(list(found), [name for name in wanted if canonical(name) is None], [])


def toggle_category(category: str, *, enabled: bool) -> Toggled:
    """Switch those modules of a category that can be switched so."""
    names = [name for name, entry in CATALOGUE.items() if entry.category == category]
    stuck = [name for name in names if why_stuck(CATALOGUE[name], enabled=enabled)]
    done = toggle(dict.fromkeys((name for name in names if name not in stuck), enabled))
    return Toggled(done.affected, done.unknown, stuck)


def take_turn() -> None:
    """Wait for others who change settings: what is read after this stays true until the commit."""
    session().execute(select(Revision.number).with_for_update()).one()


def _require_match(if_match: str | None, module: Known) -> None:
    """Refuse a change made from an outdated reading; a weak tag never matches (RFC 9110 §13.1.1)."""
    if if_match is None or if_match.strip() == "*" or module.etag in {tag.strip() for tag in if_match.split(",")}:
        return
    message = f"{module.entry.name} was changed meanwhile; read it again and repeat the change"
    raise Problem(412, message, details={"current": module.etag}, headers={"etag": module.etag})


def _require_switchable(entry: ModuleEntry, *, enabled: bool) -> None:
    if reason := why_stuck(entry, enabled=enabled):
        raise conflict(reason)


def why_stuck(entry: ModuleEntry, *, enabled: bool) -> str:
    """Why a module cannot have that state; empty when it can."""
    if enabled and not entry.implemented:
        return f"{entry.name} cannot be switched on: this version of the server does not implement it yet"
    if not enabled and entry.required:
        return f"{entry.name} cannot be switched off: every call needs it"
    return ""


def _store(module: Known, wanted: Change) -> Known:
    """Write what really changes, and tell the other workers; nothing when nothing does."""
    entry, state = module.entry, module.state
    stored = {} if state is None else state.config
    kept = _unsealed(entry, _not_replaced(stored, wanted))
    config = _configured(entry, kept, wanted)
    _require_valid(entry.name, config, wanted)
    enabled = module.enabled if wanted.enabled is None else wanted.enabled
    priority = module.priority if wanted.priority is None else wanted.priority
    same = config == stored | kept or (wanted.whole is not None and _alike(entry, config, stored | kept))
    if same and (enabled, priority) == (module.enabled, module.priority):
        return module
    if enabled and entry.name == VAULT:
        _require_key(complete_config(entry.name, config)["key_env"])
    state = state or ModuleState(name=entry.name, version=0)
    state.enabled, state.priority, state.config = enabled, priority, _sealed(entry, config)
    state.version, state.updated_at = state.version + 1, now()
    session().add(state)
    session().flush()
    revisions.bump()
    if enabled != module.enabled:
        announce("module.toggled", {"module": entry.name, "enabled": enabled, "version": state.version})
    return Known(entry, state)


def _configured(entry: ModuleEntry, kept: Json, wanted: Change) -> Json:
    """The settings as they are to be stored; of whole ones, what is a default anyway is left out and stays one."""
    if wanted.whole is None:
        return merged(merged(kept, wanted.config), wanted.flat)
    config: Json = with_kept(entry.config_schema, complete_config(entry.name, kept), wanted.whole)
    usual = complete_config(entry.name, {})
    return {name: value for name, value in config.items() if name not in usual or value != usual[name]}


def _alike(entry: ModuleEntry, config: Json, other: Json) -> bool:
    """Whether two valid forms of the settings come to the same."""
    return complete_config(entry.name, config) == complete_config(entry.name, other)


def _not_replaced(stored: Json, wanted: Change) -> Json:
    """The stored settings that the change does not replace whole: one whose secret cannot be opened may be set anew."""
    patch = wanted.config | wanted.flat
    return {name: value for name, value in stored.items() if isinstance(patch.get(name, {}), dict)}


def _require_valid(name: str, config: Json, wanted: Change) -> None:
    try:
        found = validate_config(name, config)
    except ValueError:  # what the validator raises for a value nested beyond its stack
        raise malformed("The settings are nested too deeply") from None
    if found:
        raise invalid(*(replace(issue, path=(*_place(issue.path, wanted), *issue.path)) for issue in found))


def _require_key(variable: str) -> None:
    """Refuse to seal under a key that is not there: nothing of any call would be kept."""
    try:
        if variable:
            keys.read(variable)
    except UnusableKeyError as error:
        raise conflict(f"{VAULT} cannot be switched on so: {error}", reason="key_env") from None


def _place(path: Iterable[str | int], wanted: Change) -> tuple[str | int, ...]:
    """Where the caller wrote the setting: beside `config`, or in it."""
    return ("body",) if next(iter(path), None) in wanted.flat else wanted.at


def _owner(entry: ModuleEntry) -> str:
    """What a module's secrets are sealed for."""
    return f"module:{entry.name}"


def _sealed(entry: ModuleEntry, config: Json) -> Json:
    return with_secrets(entry.config_schema, config, partial(seal, owner=_owner(entry), held=runtime().secrets))


def _unsealed(entry: ModuleEntry, config: Json) -> Json:
    try:
        return with_secrets(entry.config_schema, config, partial(unseal, owner=_owner(entry), held=runtime().secrets))
    except UnsealError as error:
        raise conflict(f"A stored secret of {entry.name} must be set anew: {error}") from None
