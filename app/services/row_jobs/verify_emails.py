"""Verify e-mails: what an address tells by itself. No mail server is asked, and no verdict pretends otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from app.services.row_jobs import columns, mailboxes, suggestions, syntax
from app.services.row_jobs.contract import Json, Prepared, Tools, job_type
from app.services.row_jobs.parameters import accepted
from app.services.row_jobs.preparing import cost, refuse_none_left
from app.services.row_jobs.word_lists import listed

READ: Final = ("email", "nom", "telephone", "site_web")
PASSED_ON: Final = ("nom", "telephone", "site_web")
SEVERAL: Final = re.compile(r"[,;|\n]+")
# RFC 2606, RFC 6761, RFC 7686, RFC 8375, and ICANN's private-use ending: no mail is delivered there.
RESERVED: Final = re.compile(
    r"(.*\.)?(test|example|invalid|localhost|local|onion|internal|home\.arpa|example\.(com|net|org))"
)
GMAIL: Final = frozenset({"gmail.com", "googlemail.com"})
GMAIL_NAME: Final = re.compile(r"[a-z0-9.]+")
GMAIL_LENGTHS: Final = range(6, 31)
NOBODY: Final = frozenset({"noreply", "no-reply", "nepasrepondre", "mailer-daemon", "donotreply", "do-not-reply"})
UNASKED: Final = "Its mail server was not asked whether the mailbox exists."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of an address, and the documented word for what decided."""

    status: str
    category: str
    reason: str
    suggested_fix: str | None = None


def prepare(params: Json, items: list[Json]) -> Prepared:
    """One item for each address: cells without an @ are dropped, repetitions too, whatever their case."""
    given = accepted("verify_emails", params)
    rows, notices = columns.resolve(items, READ)
    found = [item for row in rows for item in _split(row)]
    kept = list({item["email"].lower(): item for item in reversed(found)}.values())[::-1]
    without = sum("@" not in columns.text(row.get("email")) for row in rows)
    refuse_none_left(items, kept, ("email",))
    repeated = len(found) - len(kept)
    notices += (f"{without} row(s) without an e-mail address were left out.",) if without else ()
    notices += (f"{repeated} repeated address(es) were left out.",) if repeated else ()
    return Prepared(kept, without + repeated, notices, cost("verify_emails", len(kept)), given)


def _split(row: Json) -> Iterator[Json]:
    """The row once for each address in its cell; a comma within one address separates nothing."""
    cell = columns.text(row.get("email"))
    parts = [part.strip() for part in SEVERAL.split(cell) if part.strip()]
    several = len(parts) > 1 and all("@" in part for part in parts)
    yield from (row | {"email": part} for part in (parts if several else [cell]) if "@" in part)


def each(_params: Json, item: Json, _tools: Tools) -> Iterable[Json]:
    """The documented columns, and no other."""
    email = columns.text(item.get("email"))
    verdict = judge(email)
    return [
        {
            "email": email,
            "status": verdict.status,
            "category": verdict.category,
            "reason": verdict.reason,
            "suggested_fix": verdict.suggested_fix,
            "smtp_code": None,
            "catch_all": "unknown",
            **{name: item.get(name) for name in PASSED_ON},
        }
    ]


def judge(text: str) -> Verdict:
    """What an address tells by itself: valid is never among it, for that only its mail server knows."""
    plain = text.strip().removeprefix(syntax.MAILTO).strip("<>")
    try:
        local, domain = syntax.parts(plain)
    except syntax.NotAnAddress as error:
        return Verdict("invalid", "syntax", str(error), suggestions.for_text(plain))
    if RESERVED.fullmatch(domain):
        return Verdict("invalid", "no_mx", "Its domain is reserved for examples and private use and receives no mail.")
    return _of_domain(local.lower(), domain) or _of_mailbox(local.lower(), domain)


def _of_domain(local: str, domain: str) -> Verdict | None:
    if listed(domain, "disposable"):
        return Verdict("risky", "disposable", "Its domain hands out mailboxes for minutes.")
    meant = suggestions.for_domain(domain)
    if meant:
        return Verdict("risky", "suspect", f"The domain looks like a slip for {meant}.", f"{local}@{meant}")
    name = local.partition("+")[0]
    if domain in GMAIL and not GMAIL_NAME.fullmatch(name):
        return Verdict("invalid", "syntax", "This provider's mailboxes have only letters, digits and dots.")
    if domain in GMAIL and len(name.replace(".", "")) not in GMAIL_LENGTHS:
        return Verdict("risky", "suspect", "This provider's mailboxes have 6 to 30 letters and digits.")
    return None


def _of_mailbox(local: str, domain: str) -> Verdict:
    if local in NOBODY:
        return Verdict("risky", "suspect", f"Nobody reads a mailbox of that name. {UNASKED}")
    if mailboxes.is_role(f"{local}@{domain}"):
        return Verdict("risky", "suspect", f"It is a function's mailbox and no person's. {UNASKED}")
    if mailboxes.is_public(f"{local}@{domain}"):
        return Verdict("unknown", "big_provider", f"The provider exists. {UNASKED}")
    return Verdict("unknown", "error", f"Its form is right; its domain was not looked up. {UNASKED}")


TYPE: Final = job_type("verify_emails", prepare, each=each)
