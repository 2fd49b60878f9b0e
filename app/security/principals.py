"""The one thing every credential resolves to: a principal; and the device it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.security.scopes import EVERYTHING


@dataclass(frozen=True, slots=True)
class Device:
    """What a request says of where it came from."""

    user_agent: str = ""
    ip_address: str = ""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: `kind` is the credential's, `roles` what the document may ask for.

    `scopes` are what the credential was narrowed to. `secret` is a raw provider key passed through for this call only.
    `orgs` maps the UUIDs of the caller's orgs to the role there; `org_id` is the one org a desk token or box key is of.
    """

    kind: str
    roles: frozenset[str] = frozenset()
    user_id: int | None = None
    key_id: int | None = None
    provider: str = ""
    secret: str = field(default="", repr=False)
    scopes: frozenset[str] = EVERYTHING
    email: str = ""
    orgs: Mapping[str, str] = field(default_factory=dict)
    org_id: int | None = None
    session: str = ""
    box: str = ""

    @property
    def subject(self) -> str:
        """What limits and records count this caller by."""
        if self.key_id is not None:
            return f"key:{self.key_id}"
        return f"{self.kind}:{self.user_id or self.box or self.provider}"

    @property
    def is_admin(self) -> bool:
        """Whether the caller operates this server."""
        return "admin" in self.roles


ANONYMOUS = Principal("anonymous")
