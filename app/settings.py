"""Every setting of the server: one frozen record, read once from the environment and an optional file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml

from app.outbound.addresses import allowance
from app.outbound.mail import Server

PREFIX = "YARDMASTER_"
DATABASE_FILE = "yardmaster.db"
# What people write for PostgreSQL, and the driver that is installed for it.
DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
ADMIN_KEY = re.compile(r"sy_admin_[A-Za-z0-9_-]{32,200}\Z")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "rate_limits": ("on", "off"),
    "engine": ("on", "off"),
    "docs": ("public", "locked"),
    "signup": ("invite", "open"),
    "log_format": ("json", "text"),
    "log_level": ("debug", "info", "warning", "error"),
    "cookie_secure": ("auto", "always", "never"),
    "metrics": ("local", "admin", "public", "off"),
    "trace_propagation": ("continue", "always", "off"),
}


class SettingsError(Exception):
    """A setting has a value the server cannot start with; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may choose. Each field is `YARDMASTER_<NAME>`; the README's table explains them."""

    data: Path = Path(".yardmaster")
    database_url: str = field(default="", repr=False)
    redis_url: str = field(default="", repr=False)
    admin_key: str = field(default="", repr=False)
    host: str = "127.0.0.1"
    port: int = 4200
    workers: int = 1
    rate_limits: str = "on"
    engine: str = "on"
    docs: str = "public"
    signup: str = "invite"
    log_format: str = "text"
    log_level: str = "info"
    outbound_allow: str = ""
    cookie_secure: str = "auto"
    metrics: str = "local"
    trace_propagation: str = "continue"
    public_url: str = ""
    smtp_url: str = field(default="", repr=False)
    mail_from: str = "yardmaster@localhost"

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force: the operator's, or SQLite in the data directory."""
        if not self.database_url:
            return f"sqlite:///{(self.data / DATABASE_FILE).resolve()}"
        scheme, colon, rest = self.database_url.partition(":")
        return DRIVERS.get(scheme, scheme) + colon + rest

    @property
    def outbound_allowed(self) -> tuple[str, ...]:
        """Hosts, addresses and networks that may be called although they are not public."""
        return tuple(entry.strip() for entry in self.outbound_allow.split(",") if entry.strip())

    @property
    def base_url(self) -> str:
        """Where links in mails lead, without a slash at the end: the operator's, or the address listened on."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def secure_cookies(self) -> bool:
        """Whether browsers are told to send cookies over HTTPS only: by default unless bound to loopback."""
        return self.cookie_secure == "always" or (self.cookie_secure == "auto" and not is_loopback(self.host))

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is the built-in file."""
        return self.database.startswith("sqlite")


def is_loopback(host: str) -> bool:
    """Whether this names this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def load(environ: Mapping[str, str] = os.environ, file: Path | None = None, **overrides: Any) -> Settings:
    """Settings from defaults, then the file, then the environment, then `overrides` that are not None.

    Raises SettingsError naming the first setting that is unknown or has a value out of its range.
    """
    values: dict[str, Any] = _from_file(file or Path(environ.get(f"{PREFIX}CONFIG", "yardmaster.yaml")))
    known = {f.name for f in fields(Settings)}
    values |= {name: environ[PREFIX + name.upper()] for name in known if PREFIX + name.upper() in environ}
    values |= {name: value for name, value in overrides.items() if value is not None}
    if unknown := sorted(values.keys() - known):
        raise SettingsError(f"unknown setting {unknown[0]!r}; known are: {', '.join(sorted(known))}")
    return Settings(**{name: _typed(name, value) for name, value in values.items()})


def misspelt(environ: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for each variable that is no setting but nearly is one; others may belong to somebody else."""
    known = [PREFIX + f.name.upper() for f in fields(Settings)]
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    near = {name: get_close_matches(name, known, n=1, cutoff=0.85) for name in unknown}
    return [f"{name} is no setting; did you mean {meant[0]}?" for name, meant in near.items() if meant]


def _from_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold a mapping of settings")
    return content


def _typed(name: str, value: Any) -> Any:
    if name == "data":
        return Path(str(value)).expanduser()
    if name in {"port", "workers"}:
        return _whole(name, value)
    if name == "admin_key" and value and not ADMIN_KEY.match(str(value)):
        raise SettingsError(f"{PREFIX}ADMIN_KEY must be sy_admin_ and at least 32 letters, digits, - or _")
    if name == "outbound_allow":
        return _allowances(value)
    if name == "smtp_url" and value:
        return _smtp_url(str(value))
    if name in CHOICES and _word(value) not in CHOICES[name]:
        raise SettingsError(f"{PREFIX}{name.upper()} must be one of {', '.join(CHOICES[name])}")
    return _word(value)


def _allowances(value: Any) -> str:
    """A comma list, or a list in the file; an entry that would allow nothing is a mistake worth stopping for."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    try:
        for entry in filter(str.strip, text.split(",")):
            allowance(entry)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}OUTBOUND_ALLOW: {error}") from None
    return text


def _smtp_url(text: str) -> str:
    try:
        Server.parse(text)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}SMTP_URL {error}") from None
    return text


def _word(value: Any) -> str:
    """YAML reads `on` and `off` as booleans; an operator means the words."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _whole(name: str, value: Any) -> int:
    try:
        number = int(str(value))
    except ValueError:
        raise SettingsError(f"{PREFIX}{name.upper()} must be a whole number") from None
    if number < 0 or (name == "port" and number > 65535) or (name == "workers" and not 1 <= number <= 64):  # noqa: PLR2004
        raise SettingsError(f"{PREFIX}{name.upper()} is out of range: {number}")
    return number
