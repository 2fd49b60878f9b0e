"""HTTP fetch: what a page answered, for each row, and every row back."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from app.outbound.fetch import Limits
from app.problems import Problem
from app.services.registry import job_types
from app.services.row_jobs.types import TYPES, UnitFailed
from support.site import Web, moved, reply

HOME = b"<title>Acme &amp; Co</title>"
NOTHING = {"http_status": None, "title": None, "final_url": None, "content_sha256": None}


def test_a_row_is_given_back_with_what_was_found(run: Any, web: Web) -> None:
    """Status, title, final address and the hash of the body; its own columns stay."""
    web.pages |= {"/": moved("/home"), "/home": reply(HOME)}
    [row] = run("http_fetch", {}, [{"website": web.url, "own": [1]}])
    assert row == {
        "site_web": web.url,
        "own": [1],
        "http_status": 200,
        "title": "Acme & Co",
        "final_url": f"{web.url}/home",
        "content_sha256": sha256(HOME).hexdigest(),
    }
    assert set(job_types()["http_fetch"].produces) <= row.keys()


def test_an_answer_that_says_no_is_an_answer(run: Any, web: Web) -> None:
    """404 is what the row's owner wants to know."""
    web.pages["/gone"] = reply("<title>Gone</title>", 410)
    [row] = run("http_fetch", {}, [{"site_web": f"{web.url}/gone"}])
    assert (row["http_status"], row["title"]) == (410, "Gone")


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/", "http://10.0.0.1/", "not a site", "ftp://acme.fr"])
def test_a_site_that_does_not_answer_fails_the_unit_and_keeps_the_row(run: Any, address: str) -> None:
    """The job counts the failure, and the list does not get shorter."""
    with pytest.raises(UnitFailed, match="A site could not be read: ") as failed:
        run("http_fetch", {}, [{"site_web": address, "nom": "A"}])
    assert failed.value.rows == ({"site_web": address, "nom": "A"} | NOTHING,)


def test_a_page_read_in_part_has_no_hash(run: Any, web: Web) -> None:
    """Nobody could compare it."""
    run.limits = Limits(page_bytes=10)
    web.pages["/"] = reply(HOME)
    [row] = run("http_fetch", {}, [{"site_web": web.url}])
    assert (row["http_status"], row["content_sha256"]) == (200, None)


def test_another_column_can_hold_the_address(run: Any, web: Web) -> None:
    """By its name; rows without it are left out and counted."""
    web.pages["/"] = reply(HOME)
    items = [{"Fiche": web.url}, {"Fiche": " "}, {"site_web": web.url}]
    [row] = run("http_fetch", {"column": "fiche"}, items)
    assert row["http_status"] == 200
    prepared = TYPES["http_fetch"].prepare({"column": "fiche"}, items)
    assert (prepared.ignored, prepared.ef_cost) == (2, 0.0001)
    assert prepared.notices == ("2 row(s) without fiche were left out.",)


@pytest.mark.parametrize(
    ("params", "items"),
    [({"column": "nope"}, [{"site_web": "a.fr"}]), ({}, [{"nom": "A"}]), ({"column": ""}, []), ({"x": 1}, [])],
)
def test_what_cannot_be_run_is_refused(params: dict[str, Any], items: list[dict[str, Any]]) -> None:
    """An unknown column, rows of which none has a site, and parameters there are none of."""
    with pytest.raises(Problem):
        TYPES["http_fetch"].prepare(params, items)
