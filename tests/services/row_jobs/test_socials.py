"""Socials: accounts, and not the buttons beside them."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.registry import job_types
from app.services.row_jobs.pages import Document
from app.services.row_jobs.socials import NETWORKS, accounts
from app.services.row_jobs.types import UnitFailed
from support.site import Web, reply


def test_every_network_is_read_from_the_home_page(run: Any, web: Web) -> None:
    """The first account of each, over HTTPS and without what tracks the click; null where there is none."""
    web.pages["/"] = reply(
        """<a href="https://www.facebook.com/sharer/sharer.php?u=x">Share</a>
        <a href="http://www.facebook.com/acme.paris?utm_source=site">F</a> <a href="https://facebook.com/second">F2</a>
        <a href="https://instagram.com/p/Cxyz/">Post</a><a href="https://www.instagram.com/acme_paris/">I</a>
        <a href="https://fr.linkedin.com/company/acme/about/">L</a><a href="//x.com/acme">X</a>
        <a href="https://www.youtube.com/watch?v=1">V</a><a href="https://www.youtube.com/@acme/videos">Y</a>"""
    )
    [row] = run("socials", {}, [{"site_web": web.url, "nom": "Acme"}])
    assert row == {
        "site_web": web.url,
        "nom": "Acme",
        "social_facebook": "https://www.facebook.com/acme.paris",
        "social_instagram": "https://www.instagram.com/acme_paris/",
        "social_linkedin": "https://fr.linkedin.com/company/acme/about/",
        "social_twitter": "https://x.com/acme",
        "social_tiktok": None,
        "social_youtube": "https://www.youtube.com/@acme/videos",
    }
    assert tuple(NETWORKS) == tuple(job_types()["socials"].produces)


@pytest.mark.parametrize(
    ("column", "url"),
    [
        ("social_facebook", "https://m.facebook.com/acme"),
        ("social_facebook", "https://fr-fr.facebook.com/pages/Acme/123456"),
        ("social_facebook", "https://www.facebook.com/profile.php?id=1000123"),
        ("social_instagram", "https://www.instagram.com/acme.paris"),
        ("social_linkedin", "https://www.linkedin.com/in/jean-dupont"),
        ("social_twitter", "https://twitter.com/acme_fr"),
        ("social_tiktok", "https://www.tiktok.com/@acme"),
        ("social_youtube", "https://www.youtube.com/channel/UCabc"),
    ],
)
def test_accounts_are_recognised(column: str, url: str) -> None:
    """In the forms the networks give them."""
    assert accounts(Document("", links=[(url, "")]))[column] == url


@pytest.mark.parametrize(
    "url",
    [
        "https://www.facebook.com/",
        "https://www.facebook.com/share.php?u=x",
        "https://www.facebook.com/dialog/feed",
        "https://www.facebook.com/profile.php",
        "https://notfacebook.com/acme",
        "https://facebook.com.evil.test/acme",
        "https://developers.facebook.com/docs",
        "https://www.instagram.com/reel/x",
        "https://www.linkedin.com/shareArticle?url=x",
        "https://twitter.com/intent/tweet?text=x",
        "https://x.com/share",
        "https://tiktok.com/tag/x",
        "https://www.youtube.com/embed/abc",
        "https://acme.fr/facebook.com/acme",
    ],
)
def test_buttons_and_others_are_not(url: str) -> None:
    """Sharing, posts, embedded players, and hosts that only look alike."""
    assert set(accounts(Document("", links=[(url, "")])).values()) == {None}


def test_a_site_that_is_away_keeps_its_row(run: Any) -> None:
    """With nothing in the new columns."""
    with pytest.raises(UnitFailed) as failed:
        run("socials", {}, [{"site_web": "http://127.0.0.1:1", "nom": "A"}])
    assert failed.value.rows == ({"site_web": "http://127.0.0.1:1", "nom": "A"} | dict.fromkeys(NETWORKS),)
