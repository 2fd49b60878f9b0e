"""Every type that runs, from its path to its rows, against sites that really answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.envelopes import Refusals
from support.row_jobs import Owner
from support.site import Web, reply, serving

pytestmark = pytest.mark.settings(engine="on")

HOME = """<html><head><title>Acme</title><meta name="generator" content="WordPress 6.5"></head>
<body><a href="mailto:jane.doe@acme.fr">Jane</a> <a href="https://www.facebook.com/acme.paris">F</a></body></html>"""
LOOPBACK = pytest.mark.settings(outbound_allow="127.0.0.1")


@pytest.fixture
def web() -> Iterator[Web]:
    """A company's site."""
    with serving(
        {"/": reply(HOME), "/list.csv": reply("nom;site_web\nA;a.example\nB;b.example", content_type="text/csv")}
    ) as site:
        yield site


def rows_of(owner: Owner, path: str, **body: Any) -> list[dict[str, Any]]:
    """The rows of a job of this path, once it is done."""
    answer = owner.caller.post(path, json=body)
    assert answer.status_code == 201, answer.text
    shown = owner.ended(answer.json()["id"])
    assert shown["status"] == "done", shown
    return owner.rows(shown["id"])


def test_a_pasted_list_is_imported(owner: Owner) -> None:
    """Its columns under their usual names, and a notice of which was taken for which."""
    answer = owner.caller.post("/api/jobs/import", json={"text": "Name;Website\nAcme;https://acme.example"})
    shown = owner.ended(answer.json()["id"])
    assert [row["nom"] for row in owner.rows(shown["id"])] == ["Acme"]
    assert any("Website" in notice for notice in shown["notices"])


def test_a_job_is_imported(owner: Owner) -> None:
    """Its rows are a list like any other."""
    uid = owner.done("sort", items=[{"nom": "Acme"}])["id"]
    assert [row["nom"] for row in rows_of(owner, "/api/jobs/import", source="from_job", from_job_id=uid)] == ["Acme"]


@LOOPBACK
def test_a_file_on_the_web_is_imported(owner: Owner, web: Web) -> None:
    """Read when the job runs, by the guarded client."""
    rows = rows_of(owner, "/api/jobs/import", source="url", url=f"{web.url}/list.csv")
    assert [row["nom"] for row in rows] == ["A", "B"]


def test_nothing_is_read_from_addresses_that_are_not_public(owner: Owner, web: Web) -> None:
    """Or a list could be made of this network's own pages: the job fails and no request was made."""
    created = owner.create("import", source="url", url=f"{web.url}/list.csv")
    assert owner.ended(created["id"])["status"] == "failed"
    assert web.heard == []


def test_rows_are_deduplicated(owner: Owner) -> None:
    """One of each key."""
    rows = rows_of(
        owner, "/api/jobs/dedupe", items=[{"email": "a@b.example"}, {"email": "a@b.example"}], keys=["email"]
    )
    assert len(rows) == 1


def test_rows_are_normalised(owner: Owner) -> None:
    """Telephones in E.164."""
    [row] = rows_of(owner, "/api/jobs/normalize", items=[{"telephone": "02 98 00 00 00"}])
    assert row["telephone"] == "+33298000000"


def test_addresses_are_verified(owner: Owner) -> None:
    """A slip is told from an address."""
    rows = rows_of(owner, "/api/jobs/verify_emails", items=[{"email": "a@b@c"}])
    assert rows[0]["status"] == "invalid"


@LOOPBACK
def test_pages_are_fetched(owner: Owner, web: Web) -> None:
    """Status and title."""
    [row] = rows_of(owner, "/api/jobs/http_fetch", items=[{"site_web": web.url}])
    assert (row["http_status"], row["title"]) == (200, "Acme")


@LOOPBACK
def test_addresses_are_looked_for(owner: Owner, web: Web, refused: Refusals) -> None:
    """On the site; a deep search goes on from a normal one, and from nothing else."""
    first = owner.done("emails", items=[{"site_web": web.url}])
    assert first["email_mode"] == "normal"
    assert owner.rows(first["id"])[0]["email"] == "jane.doe@acme.fr"
    deep = rows_of(owner, "/api/jobs/emails", source_job_id=first["id"], mode="deep")
    assert deep[0]["email"] == "jane.doe@acme.fr"
    other = owner.done("sort", items=[{"site_web": web.url}])["id"]
    refused(owner.caller.post("/api/jobs/emails", json={"source_job_id": other, "mode": "deep"}), 400)


@LOOPBACK
def test_accounts_are_looked_for(owner: Owner, web: Web) -> None:
    """Those the site links to."""
    [row] = rows_of(owner, "/api/jobs/socials", items=[{"site_web": web.url}])
    assert row["social_facebook"] == "https://www.facebook.com/acme.paris"


@LOOPBACK
def test_technology_is_recognised(owner: Owner, web: Web) -> None:
    """By what the page says of itself."""
    [row] = rows_of(owner, "/api/jobs/techstack", items=[{"site_web": web.url}])
    assert "WordPress" in row["tech_cms"]


@LOOPBACK
def test_many_sites_are_asked_at_once_and_rows_stay_in_order(owner: Owner, web: Web) -> None:
    """Each row's answer is beside that row."""
    web.pages |= {f"/{n}": reply(f"<title>{n}</title>") for n in range(40)}
    rows = rows_of(owner, "/api/jobs/http_fetch", items=[{"site_web": f"{web.url}/{n}", "n": n} for n in range(40)])
    assert [row["title"] for row in rows] == [str(row["n"]) for row in rows] == [str(n) for n in range(40)]
