"""The one redactor: takes keys, tokens and passwords out of text and JSON before anyone can read them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

REDACTED: Final = "[redacted]"

# A key starts where no letter or digit stands before it, so that `risk-…` and `easy_…` are left alone. A `*` is part
# of it: providers mask the middle of a key in their messages and leave both ends readable.
_START: Final = r"(?<![A-Za-z0-9])"

# Each pattern has texts of which one must be there for it to match: a search for a fixed text costs next to nothing.
_KEYS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("sk-",), r"sk-[A-Za-z0-9_*-]{8,}"),
    (("sy_",), r"sy_[A-Za-z0-9_*-]{8,}"),
    (("gsk_",), r"gsk_[A-Za-z0-9*]{8,}"),
    (("xai-",), r"xai-[A-Za-z0-9*]{8,}"),
    (("pplx-",), r"pplx-[A-Za-z0-9*]{8,}"),
    (("fw_",), r"fw_[A-Za-z0-9*]{8,}"),
    (("csk-",), r"csk-[A-Za-z0-9*]{8,}"),
    (("nvapi-",), r"nvapi-[A-Za-z0-9_*-]{8,}"),
    (("hf_",), r"hf_[A-Za-z0-9*]{8,}"),
    (("r8_",), r"r8_[A-Za-z0-9*]{8,}"),
    (("AIza",), r"AIza[A-Za-z0-9_*-]{8,}"),
    (("ya29.",), r"ya29\.[A-Za-z0-9_-]{8,}"),
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9*]{8,}"),
    (("github_pat_",), r"github_pat_[A-Za-z0-9_*]{8,}"),
    (("glpat-",), r"glpat-[A-Za-z0-9_-]{8,}"),
    (("AKIA", "ASIA"), r"(?:AKIA|ASIA)[A-Z0-9*]{12,}"),
    (("xox",), r"xox[abeoprs]-[A-Za-z0-9-]{8,}"),
    (("_live_", "_test_"), r"[prs]k_(?:live|test)_[A-Za-z0-9]{8,}"),
    (("whsec_",), r"whsec_[A-Za-z0-9+/=_-]{8,}"),
    (("stout_",), r"stout_[A-Fa-f0-9]{8,}"),
    (("eyJ",), r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)*"),
)
_KEY_RULES: Final = tuple((hints, re.compile(_START + pattern)) for hints, pattern in _KEYS)

# Here something before the secret tells it for one; that part, the group, is kept. After `bearer` and the like a
# short word in small letters is prose ("bearer authentication"), not a token.
_PROSE: Final = r"(?![a-z]{1,19}(?![A-Za-z0-9._~+/=*-]))"
_TOLD: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("earer ", "EARER "), rf"((?i:\bbearer) +){_PROSE}[A-Za-z0-9._~+/=*-]{{6,}}"),
    (("asic ", "ASIC "), rf"((?i:authorization[\"']?\s*[:=]\s*[\"']?basic) +){_PROSE}[A-Za-z0-9+/=]{{6,}}"),
    (("key", "KEY", "Key"), rf"((?i:\bapi[ _-]?key(?: provided)?)[\"']?\s*[:=]\s*[\"']?){_PROSE}[^\s\"',;}})]{{6,}}"),
    (("=",), r"(?i)([?&](?:key|api[_-]?key|token|access_token|secret|password|signature|sig)=)[^&\s\"'<>]+"),
    (("://",), r"(://)[^/\s:@\"']*:[^/\s@\"']+(?=@)"),
    (("PRIVATE KEY-----",), r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?s:.*?)(?=-----END|\Z)"),
)
_TOLD_RULES: Final = tuple((hints, re.compile(pattern)) for hints, pattern in _TOLD)

_SECRET_NAMES: Final = frozenset(
    {
        "authorization",
        "proxy_authorization",
        "cookie",
        "set_cookie",
        "api_key",
        "apikey",
        "key_secret",
        "x_admin_key",
        "x_stockyard_key",
        "x_goog_api_key",
        "password",
        "passwd",
        "secret",
        "token",
        "credentials",
        "private_key",
    }
)
_SECRET_ENDS: Final = ("_api_key", "_secret", "_password", "_token", "_private_key", "_secret_key", "_access_key")


def redact(text: str, *secrets: str) -> str:
    """The text without anything that looks like a credential, and without these very secrets.

    Name the key a call was made with: many providers' keys have no prefix to be told by.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, REDACTED)
    for hints, pattern in _TOLD_RULES:
        if any(hint in text for hint in hints):
            text = pattern.sub(rf"\1{REDACTED}", text)
    for hints, pattern in _KEY_RULES:
        if any(hint in text for hint in hints):
            text = pattern.sub(REDACTED, text)
    return text


def redact_mapping(values: Mapping[str, Any], *secrets: str) -> dict[str, Any]:
    """A copy of headers or JSON: what a secret's name holds is replaced, all other texts are redacted.

    Numbers and booleans stay: `has_api_key: true` is no secret.
    """
    return {
        redact(name, *secrets): REDACTED if is_secret(name) and _can_hide(value) else redact_json(value, *secrets)
        for name, value in values.items()
    }


def redact_json(value: Any, *secrets: str) -> Any:
    """A copy of any JSON value with every text in it redacted."""
    if isinstance(value, str):
        return redact(value, *secrets)
    if isinstance(value, dict):
        return redact_mapping(value, *secrets)
    if isinstance(value, list | tuple):
        return [redact_json(item, *secrets) for item in value]
    return value


def _can_hide(value: Any) -> bool:
    return bool(value) and not isinstance(value, bool | int | float)


def is_secret(name: str) -> bool:
    """Whether a field or header of this name holds a secret."""
    plain = name.lower().replace("-", "_")
    return plain in _SECRET_NAMES or plain.endswith(_SECRET_ENDS)
