"""Emails: addresses that are on the site, the best first, and not one that is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.problems import Problem
from app.services.row_jobs import emails, mailboxes
from app.services.row_jobs.pages import Document
from app.services.row_jobs.types import TYPES, UnitFailed
from support.site import Web, reply

ADDRESSES = st.sampled_from(
    [
        "info@acme.fr",
        "jean@acme.fr",
        "zoe@gmail.com",
        "contact@agency.com",
        "logo@2x.png",
        "a@example.com",
        "Jean@ACME.fr",
    ]
)


def found(run: Any, web: Web, html: str, **pages: str) -> tuple[str | None, str | None]:
    """Best address and best person's of a site with this home page."""
    web.pages |= {"/": reply(html)} | {f"/{name}": reply(page) for name, page in pages.items()}
    [row] = run("emails", {}, [{"site_web": web.url, "own": 1}])
    assert row["own"] == 1
    return row["email"], row["email_personal"]


def ranked(*mails: str, text: str = "", own: str = "acme.fr") -> list[str]:
    """The addresses of a page in order."""
    return emails.rank([Document("https://acme.fr/", mailboxes=[f"mailto:{m}" for m in mails], text=text)], own)


@pytest.mark.parametrize(
    ("html", "address"),
    [
        ('<a href="mailto:Info@Acme.fr?subject=Hi">write</a>', "info@acme.fr"),
        ('<a href="mailto:%69nfo@acme.fr">write</a>', "info@acme.fr"),
        ("<p>Mail: info@acme.fr.</p>", "info@acme.fr"),
        ("<p>info@acme.fr<br>Tel", "info@acme.fr"),
        ("<td>info@acme.fr<td>75001", "info@acme.fr"),
        ("<p>info [at] acme [dot] fr", "info@acme.fr"),
        ("<p>info(arobase)acme.fr", "info@acme.fr"),
        ('<span data-cfemail="422b2c242d02232f2f276c2430">x</span>', "info@amme.fr"),
        ("<p>info&#64;acme&#46;fr", "info@acme.fr"),
        ("<p>(info@acme.fr), “x”", "info@acme.fr"),
    ],
)
def test_an_address_is_found_however_it_is_shown(run: Any, web: Web, html: str, address: str) -> None:
    """Links, text, what is written for people only, and what is hidden from harvesters."""
    assert found(run, web, html) == (address, None)


@pytest.mark.parametrize(
    "html",
    [
        "<img src=logo@2x.png>",
        "<p>logo@2x.png",
        "<p>you@example.com",
        "<p>@acme meet us @ acme.fr",
        "<script>var dsn = 'https://abcdef0123456789abcdef@sentry.acme.fr/1'</script>",
        "<p>abcdef0123456789abcdef@sentry.acme.fr",
        "<!-- old@acme.fr -->",
        '<a href="mailto:">write</a><span data-cfemail="zz"></span><span data-cfemail=""></span>',
    ],
)
def test_what_is_no_address_is_none(run: Any, web: Web, html: str) -> None:
    """Pictures, examples, identifiers and code: null, never a guess."""
    assert found(run, web, html) == (None, None)


def test_a_person_outranks_a_function() -> None:
    """Then the site's own domain, then a link over text, then the order of the page."""
    assert ranked("info@acme.fr", "web@agency.com", "z@agency.com", "jean@acme.fr") == [
        "jean@acme.fr",
        "z@agency.com",
        "info@acme.fr",
        "web@agency.com",
    ]
    assert ranked("b@acme.fr", text="a@acme.fr c@acme.fr") == ["b@acme.fr", "a@acme.fr", "c@acme.fr"]
    assert ranked("a@shop.acme.fr", "b@gmail.com", own="acme.fr")[0] == "a@shop.acme.fr"


@settings(deadline=None)
@given(st.lists(ADDRESSES), st.lists(ADDRESSES))
def test_the_ranking_invents_nothing_and_is_always_the_same(linked: list[str], shown: list[str]) -> None:
    """Each address once, only from the page, people first."""
    order = ranked(*linked, text=" ".join(shown))
    assert order == ranked(*linked, text=" ".join(shown))
    assert set(order) <= {address.lower() for address in [*linked, *shown]}
    assert len(set(order)) == len(order)
    assert [mailboxes.is_role(a) for a in order] == sorted(mailboxes.is_role(a) for a in order)


def test_the_contact_page_is_read_too(run: Any, web: Web) -> None:
    """The likeliest further page of the same site, and in normal mode no other."""
    home = '<a href="/about">About</a><a href="http://127.0.0.2/contact">Away</a><a href="/c">Contact</a> info@acme.fr'
    assert found(run, web, home, c="<p>jean@acme.fr", about="<p>zoe@acme.fr") == ("jean@acme.fr", "jean@acme.fr")
    assert web.read == ["/", "/c"]


def test_deep_reads_five_pages_for_three_times_the_cost(run: Any, web: Web) -> None:
    """And never a sixth."""
    names = ["contact", "legal", "about", "team", "equipe", "mentions"]
    web.pages["/"] = reply("".join(f'<a href="/{name}">{name}</a>' for name in names))
    web.pages |= {f"/{name}": reply(f"<p>p.{name}@acme.fr") for name in names}
    params = {"mode": "deep", "source_job_id": "j_01HXYZ99"}
    [row] = run("emails", params, [{"site_web": web.url}])
    assert web.read == ["/", "/contact", "/legal", "/mentions", "/about"]
    assert row["email"] == "p.contact@acme.fr"
    rows = [{"site_web": "a.fr"}] * 10
    assert TYPES["emails"].prepare({}, rows).ef_cost == pytest.approx(0.001)
    assert TYPES["emails"].prepare(params, rows).ef_cost == pytest.approx(0.003)


def test_deep_starts_from_a_finished_job() -> None:
    """Without one it is refused, and the field is named."""
    with pytest.raises(Problem) as refused:
        TYPES["emails"].prepare({"mode": "deep"}, [{"site_web": "a.fr"}])
    assert refused.value.issues[0].path == ("body", "source_job_id")


def test_what_a_row_had_stays_when_nothing_is_found(run: Any, web: Web) -> None:
    """A known address is not overwritten with nothing, not even by a site that is away."""
    web.pages["/"] = reply("<p>none")
    assert run("emails", {}, [{"site_web": web.url, "email": "a@b.fr"}])[0]["email"] == "a@b.fr"
    with pytest.raises(UnitFailed) as failed:
        run("emails", {}, [{"site_web": "http://127.0.0.1:1", "email": "a@b.fr"}])
    [row] = failed.value.rows
    assert (row["email"], row["email_personal"]) == ("a@b.fr", None)


def test_a_site_that_refuses_is_a_failure(run: Any, web: Web) -> None:
    """Its page of error is nobody's home page."""
    web.pages["/"] = reply("webmaster@hoster.com", 503)
    with pytest.raises(UnitFailed, match="answered 503"):
        run("emails", {}, [{"site_web": web.url}])


def test_a_contact_page_that_is_away_costs_nothing(run: Any, web: Web) -> None:
    """The home page still counts."""
    assert found(run, web, '<a href="/contact">Contact</a> jean@acme.fr') == ("jean@acme.fr", "jean@acme.fr")


def test_rows_without_a_site_are_left_out() -> None:
    """Counted, told, and refused when there is no other."""
    prepared = TYPES["emails"].prepare({}, [{"url": "a.fr", "x": 1}, {"nom": "B"}])
    assert prepared.items == [{"site_web": "a.fr", "x": 1}]
    assert prepared.notices == ('Column "url" was read as site_web.', "1 row(s) without site_web were left out.")
    assert prepared.ignored == 1
    with pytest.raises(Problem):
        TYPES["emails"].prepare({}, [{"nom": "B"}])
    assert TYPES["emails"].prepare({}, []).items == []
