"""Verify e-mails: every verdict an address allows by itself, and none that only its server could give."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.problems import Problem
from app.services.registry import job_types
from app.services.row_jobs import suggestions, syntax
from app.services.row_jobs.types import TYPES
from app.services.row_jobs.verify_emails import judge
from app.services.row_jobs.word_lists import names
from support.rows import Json
from support.timing import cpu_seconds

LOCALS = st.text(alphabet="abc.+-_é@ \"'", max_size=10)


def verdict(text: str) -> tuple[str, str, str | None]:
    """Status, category and suggestion."""
    found = judge(text)
    return found.status, found.category, found.suggested_fix


def prepared(*cells: Any) -> list[str]:
    """The addresses that will be judged."""
    return [item["email"] for item in TYPES["verify_emails"].prepare({}, [{"email": cell} for cell in cells]).items]


def test_a_verdict_has_the_documented_columns_and_no_other(run: Any) -> None:
    """Name, telephone and site pass through; nothing is said of a server that was not asked."""
    item = {"E-mail": "jean@acme-sarl.fr", "nom": "Acme", "website": "acme.fr", "own": 1}
    [row] = run("verify_emails", {}, [item])
    assert list(row) == list(job_types()["verify_emails"].output)
    assert row == {
        "email": "jean@acme-sarl.fr",
        "status": "unknown",
        "category": "error",
        "reason": "Its form is right; its domain was not looked up. "
        "Its mail server was not asked whether the mailbox exists.",
        "suggested_fix": None,
        "smtp_code": None,
        "catch_all": "unknown",
        "nom": "Acme",
        "telephone": None,
        "site_web": "acme.fr",
    }


@pytest.mark.parametrize(
    "address",
    ["a@acme.fr", "first.last+tag@sub.acme.co.uk", "o'brien@acme.fr", "a!#$%&*/=?^_`{|}~-@acme.fr", "é@bücher.de",
     "x" * 64 + "@acme.fr", "a@xn--bcher-kva.de", "1@acme.museum"],
)  # fmt: skip
def test_right_forms_are_accepted(address: str) -> None:
    """Everything RFC 5321 and RFC 6531 allow unquoted; whether it exists is unknown."""
    assert verdict(address) == ("unknown", "error", None)


@pytest.mark.parametrize(
    "address",
    ["a@", "@acme.fr", "a@acme", "a b@acme.fr", ".a@acme.fr", "a.@acme.fr", "a..b@acme.fr", "a@-acme.fr", "a@acme-.fr",
     "a@acme..fr", "a@@acme.fr", "a@b@acme.fr", '"a b"@acme.fr', "a@[127.0.0.1]", "a@1.2.3.4", "a@acme.f", "a@ac_me.fr",
     "x" * 65 + "@acme.fr", "a@" + "x" * 64 + ".fr", "é" * 33 + "@acme.fr", "a@" + "x.fr" * 70, "a\u200b@acme.fr",
     "a\x00@acme.fr", "a(c)@acme.fr", "a@acme.fr\u3000x", "a,b@acme.fr"],
)  # fmt: skip
def test_wrong_forms_are_invalid(address: str) -> None:
    """No mail system gives such a mailbox out."""
    status, category, _ = verdict(address)
    assert (status, category) == ("invalid", "syntax")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("jean@gmail,com", "jean@gmail.com"),
        ("jean dupont@acme.fr", "jeandupont@acme.fr"),
        ("jean@acme..fr", "jean@acme.fr"),
        ("jean@acme.fr.", "jean@acme.fr"),
        ("jean@gmail", "jean@gmail.com"),
        ("jean@gmailcom", "jean@gmail.com"),
        ("a@", None),
        ("a@b@acme.fr", None),
    ],
)
def test_a_slip_in_the_form_has_a_suggestion(written: str, meant: str | None) -> None:
    """Where one is near; it is a valid address itself."""
    assert verdict(written) == ("invalid", "syntax", meant)


@pytest.mark.parametrize(
    ("domain", "meant"),
    [
        ("gmial.com", "gmail.com"),
        ("gmal.com", "gmail.com"),
        ("gmaill.com", "gmail.com"),
        ("gmail.co", "gmail.com"),
        ("gmail.con", "gmail.com"),
        ("gmail.fr", "gmail.com"),
        ("hotmial.fr", "hotmail.fr"),
        ("outlok.com", "outlook.com"),
        ("yaho.fr", "yahoo.fr"),
        ("orage.fr", "orange.fr"),
        ("laposte.ney", "laposte.net"),
        ("acme.con", "acme.com"),
    ],
)
def test_a_mistyped_domain_is_suspect(domain: str, meant: str) -> None:
    """The right one is suggested."""
    assert verdict(f"jean.dupont@{domain}") == ("risky", "suspect", f"jean.dupont@{meant}")


@settings(deadline=None)
@given(
    st.sampled_from(["gmail.com", "hotmail.fr", "wanadoo.fr", "laposte.net"]),
    st.integers(0, 20),
    st.sampled_from("aeiz"),
)
def test_any_one_slip_in_a_large_provider_is_noticed(provider: str, at: int, letter: str) -> None:
    """A letter more, less or wrong, or two swapped: something real is suggested, unless the slip is real itself."""
    at %= len(provider)
    slips = [
        provider[:at] + letter + provider[at:],
        provider[:at] + provider[at + 1 :],
        provider[:at] + letter + provider[at + 1 :],
        provider[:at] + provider[at : at + 2][::-1] + provider[at + 2 :],
    ]
    for slip in slips:
        known = slip in names("providers")
        assert known or suggestions.for_domain(slip) in names("providers")
        assert not known or suggestions.for_domain(slip) is None


@pytest.mark.parametrize("domain", ["mail.com", "gmx.com", "tree.fr", "fee.fr", "ymail.com", "proton.me", "acme.com"])
def test_an_ordinary_domain_is_no_slip(domain: str) -> None:
    """Neighbours that exist are left alone."""
    assert judge(f"jean.dupont@{domain}").suggested_fix is None


@pytest.mark.parametrize(
    ("address", "status", "category"),
    [
        ("x@yopmail.com", "risky", "disposable"),
        ("x@mail.Guerrillamail.com", "risky", "disposable"),
        ("x@duck.com", "unknown", "error"),
        ("x@passmail.net", "unknown", "error"),
        ("contact@acme.fr", "risky", "suspect"),
        ("info.paris@acme.fr", "risky", "suspect"),
        ("no-reply@acme.fr", "risky", "suspect"),
        ("jean.dupont@orange.fr", "unknown", "big_provider"),
        ("jean.dupont@gmail.com", "unknown", "big_provider"),
        ("jean.dupont+x@gmail.com", "unknown", "big_provider"),
        ("jean_dupont@gmail.com", "invalid", "syntax"),
        ("jean@gmail.com", "risky", "suspect"),
        ("a@example.com", "invalid", "no_mx"),
        ("a@mail.example.org", "invalid", "no_mx"),
        ("a@host.local", "invalid", "no_mx"),
        ("a@myexample.com", "unknown", "error"),
    ],
)
def test_what_stands_around_the_at_decides(address: str, status: str, category: str) -> None:
    """Throw-away domains, functions, providers with rules of their own, and names where no mail goes."""
    found = judge(address)
    assert (found.status, found.category) == (status, category)


@settings(deadline=None)
@given(LOCALS, st.sampled_from(["acme.fr", "gmail.com", "gmial.com", "yopmail.com", "b", "é.fr", ""]))
def test_every_text_has_a_documented_verdict(local: str, domain: str) -> None:
    """Valid is not among them, and a suggestion is always an address that differs."""
    found = judge(f"{local}@{domain}")
    assert found.status in {"risky", "invalid", "unknown"}
    assert found.category in ["smtp", "syntax", "disposable", "suspect", "big_provider", "no_mx", "error"]
    assert found.reason.endswith(".")
    if found.suggested_fix is not None:
        assert syntax.address(found.suggested_fix) == found.suggested_fix
        assert found.suggested_fix != f"{local}@{domain}"


def test_rows_without_an_address_and_repetitions_are_dropped() -> None:
    """Counted and told; the first of each stays, whatever its case."""
    rows = [{"email": cell} for cell in ("a@b.fr", "A@B.fr", "none", "", None, "c@d.fr")]
    found = TYPES["verify_emails"].prepare({}, rows)
    assert [item["email"] for item in found.items] == ["a@b.fr", "c@d.fr"]
    assert found.ignored == 4
    assert found.notices == (
        "3 row(s) without an e-mail address were left out.",
        "1 repeated address(es) were left out.",
    )
    assert found.ef_cost == pytest.approx(0.0002)


def test_a_cell_with_several_addresses_is_several_units() -> None:
    """A comma within one address separates nothing."""
    assert prepared("a@b.fr; c@d.fr", "e@gmail,com") == ["a@b.fr", "c@d.fr", "e@gmail,com"]


def test_no_address_at_all_is_refused() -> None:
    """There would be nothing to do; no rows at all is an empty step of a pipeline."""
    with pytest.raises(Problem) as refused:
        prepared("none", None)
    assert refused.value.issues[0].path == ("body", "items", 0, "email")
    assert prepared() == []


def test_the_lists_do_not_contradict_each_other() -> None:
    """No provider of real mailboxes or of lasting aliases is thrown away."""
    lasting = {"duck.com", "simplelogin.com", "addy.io", "anonaddy.com", "mozmail.com", "passmail.net"}
    assert not names("disposable") & (names("providers") | lasting)
    assert all(syntax.address(f"a@{domain}") for domain in names("disposable") | names("providers"))


def test_ten_thousand_addresses_are_judged_in_seconds() -> None:
    """Nothing is asked of anybody."""
    rows: list[Json] = [{"email": f"p{i}@acme{i}.fr"} for i in range(10_000)]

    def judged() -> None:
        for item in TYPES["verify_emails"].prepare({}, rows).items:
            judge(item["email"])

    assert cpu_seconds(judged) < 8
