"""The form of an e-mail address: RFC 5321 and RFC 5322 as far as mail systems keep to them, with IDNA domains."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from app.outbound.web_addresses import ascii_host

# RFC 5321 §4.5.3.1, and RFC 3696 erratum 1690.
LONGEST_LOCAL: Final = 64
LONGEST: Final = 254
# RFC 5322 §3.2.3; RFC 6531 adds what is not ASCII. Quoted locals are valid and never given out: they are refused.
ATOM: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+")
TLD: Final = re.compile(r"[a-z]{2,63}|xn--[a-z0-9-]{1,59}")
MAILTO: Final = "mailto:"


class NotAnAddress(Exception):  # noqa: N818 (it is the verdict, and no defect)
    """Why a text is no e-mail address, in words for people."""


def parts(text: str) -> tuple[str, str]:
    """The local part as written and the domain in lower-case ASCII; NotAnAddress with the reason otherwise."""
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        raise NotAnAddress("There must be something before and after the @.")
    _check_local(local)
    name = ascii_host(domain) if not domain.endswith(".") else None
    if name is None or ":" in name:
        raise NotAnAddress("What follows the @ is no domain name.")
    if "." not in name:
        raise NotAnAddress("The domain has no ending such as .com.")
    if not TLD.fullmatch(name.rpartition(".")[2]) or "_" in name:
        raise NotAnAddress("The domain's ending does not exist in that form.")
    if len(local.encode()) + 1 + len(name) > LONGEST:
        raise NotAnAddress(f"It is longer than {LONGEST} characters.")
    return local, name


def _check_local(local: str) -> None:
    if len(local.encode()) > LONGEST_LOCAL:
        raise NotAnAddress(f"More than {LONGEST_LOCAL} characters stand before the @.")
    if "@" in local:
        raise NotAnAddress("There is more than one @.")
    if local.startswith(".") or local.endswith(".") or ".." in local:
        raise NotAnAddress("A dot stands at the edge of the name, or two in a row.")
    odd = next((c for c in local if c != "." and not (ATOM.fullmatch(c) and _visible(c))), None)
    if odd is not None:
        shown = odd if odd.isprintable() and not odd.isspace() else "a space or an invisible character"
        raise NotAnAddress(f"It holds {shown}, which no mailbox has.")


def _visible(character: str) -> bool:
    return character.isascii() or unicodedata.category(character)[0] not in "CZ"


def address(text: str) -> str | None:
    """The canonical form: trimmed, without `mailto:`, lower case, the domain in ASCII; None when it is no address."""
    plain = text.strip().strip("<>").lower().removeprefix(MAILTO)
    try:
        local, domain = parts(unicodedata.normalize("NFC", plain))
    except NotAnAddress:
        return None
    return f"{local}@{domain}"
