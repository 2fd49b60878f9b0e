"""Techstack: products by what a page loads, never by what it says."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.registry import job_types
from app.services.row_jobs.techstack import signatures
from support.site import Web, reply

ALL = [(column, name) for column, known in signatures().items() for name in known]


def stack(run: Any, web: Web, html: str, **headers: str) -> dict[str, Any]:
    """What is recognised on a home page."""
    web.pages["/"] = reply(html, **headers)
    [row] = run("techstack", {}, [{"site_web": web.url}])
    return {name: row[name] for name in job_types()["techstack"].produces}


def test_a_usual_site_is_recognised(run: Any, web: Web) -> None:
    """Several products of a kind by commas, in the order of the table."""
    html = """<meta name="generator" content="WordPress 6.5">
    <link rel=stylesheet href="/wp-content/plugins/woocommerce/a.css">
    <script src="https://www.googletagmanager.com/gtag/js?id=G-1"></script>
    <script>var _paq = []; g.src='//stats.acme.fr/matomo.js'; fbq('init', '1');</script>"""
    assert stack(run, web, html) == {
        "tech_cms": "WordPress, WooCommerce",
        "tech_analytics": "Google Analytics, Matomo",
        "tech_ads_pixels": "Meta Pixel",
    }


def test_what_a_page_says_is_no_evidence(run: Any, web: Web) -> None:
    """An agency that writes about WordPress need not use it; null when unsure."""
    html = "<p>We build /wp-content/ with Shopify, matomo.js and connect.facebook.net</p><a href='/wp-content/'>x</a>"
    assert stack(run, web, html) == dict.fromkeys(["tech_cms", "tech_analytics", "tech_ads_pixels"])


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"x_shopid": "123"}, "Shopify"),
        ({"x_generator": "Drupal 10"}, "Drupal"),
        ({"set_cookie": "PrestaShop-abc=1; path=/"}, "PrestaShop"),
        ({"set_cookie": "a=1\r\nset-cookie: mage-cache=1"}, "Magento"),
    ],
)
def test_headers_and_cookies_give_products_away(run: Any, web: Web, headers: dict[str, str], name: str) -> None:
    """Also where the page itself is silent."""
    assert stack(run, web, "<p>x", **headers)["tech_cms"] == name


@pytest.mark.parametrize(("column", "name"), ALL)
def test_every_signature_can_be_matched(column: str, name: str) -> None:
    """In lower case, and by something: one that never fits is a lie in the table."""
    sign = signatures()[column][name]
    told = [*sign.code, sign.generator, *sign.cookie, *(sign.header or {}), *(sign.header or {}).values()]
    assert any(told)
    assert told == [text.lower() for text in told]


def test_the_columns_are_the_published_ones() -> None:
    """The table and the registry say the same."""
    assert list(signatures()) == job_types()["techstack"].produces
