"""Pages: what any browser would make out is found, however the page is written, and in bounded time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.outbound.fetch import Page
from app.services.row_jobs import pages
from app.services.row_jobs.pages import Document
from support.timing import cpu_seconds

PIECES = st.sampled_from(
    ["<a href='x'>", "</a>", "<title>", "</title>", "<!--", "-->", "<![CDATA[", "]]>", "<script>", "</script>", "<",
     ">", "&amp;", "&#xD800;", "&#0;", "<p", '"', "'", "mailto:a@b.fr", "<base href='http://[::1'>", "é",
     "<?php", "<!doctype", "<meta name=generator content=x>", "\x00", "</", "=", "/", " "]
)  # fmt: skip


def document(html: str, url: str = "https://acme.fr/dir/page") -> Document:
    """What is read of a page."""
    return pages.read(Page(url, 200, {"content-type": "text/html; charset=utf-8"}, html.encode()))


@pytest.mark.parametrize(
    ("html", "title"),
    [
        ("<title>Acme</title>", "Acme"),
        ("<TITLE>\n A &amp; B\t&eacute; </TITLE>", "A & B é"),
        ("<title>One</title><svg><title>Two</title></svg>", "One"),
        ("<title>a <b>bold</b> one</title>", "a bold one"),
        ("<title>never closed", "never closed"),
        ("<title></title>", None),
        ("<title>" + "x" * 600 + "</title>", "x" * 500),
        ("<p>none", None),
        ("", None),
        ("<![if IE]><title>Old</title><![endif]>", "Old"),
        ("<![CDATA[x]]><![bogus[x]><title>After</title>", "After"),
        ("<!-- <title>No</title> --><title>Yes</title>", "Yes"),
        ("<script>'<title>No</title>'</script><title>Yes</title>", "Yes"),
    ],
)
def test_the_title_is_found(html: str, title: str | None) -> None:
    """The first one, in one line."""
    assert document(html).title == title


def test_links_are_absolute_and_canonical() -> None:
    """As a browser resolves them; what is no web address is no link."""
    html = """
    <a href="/contact">Contact <b>us</b></a> <A HREF=other>Other</A> <a href=" //b.fr/x y ">B</a>
    <a href="#top">Top</a> <a href="tel:+33">Call</a> <a href="javascript:x()">X</a> <a>None</a> <a href="http://[">Bad</a>
    <map><area href="https://c.fr"></map><a href="last">never closed
    """
    assert document(html).links == [
        ("https://acme.fr/contact", "Contact us"),
        ("https://acme.fr/dir/other", "Other"),
        ("https://b.fr/x%20y", "B"),
        ("https://acme.fr/dir/page", "Top"),
        ("https://acme.fr/dir/page", "None"),
        ("https://c.fr/", ""),
        ("https://acme.fr/dir/last", "never closed"),
    ]


def test_a_base_is_respected() -> None:
    """Relative links are relative to it, wherever it leads."""
    assert document('<base href="/other/"><a href="x">X</a>').links == [("https://acme.fr/other/x", "X")]
    assert document('<base href="http://[::1"><a href="http://b.fr">X</a>').links == [("http://b.fr/", "X")]


def test_text_is_apart_from_code() -> None:
    """What a page says is no evidence of what it runs, nor the other way round."""
    html = (
        "<p>We use<td>Matomo<script src=/a.js>run()</script><style>.x{}</style><noscript>no</noscript><img src=b.png>"
    )
    found = document(html)
    assert found.text.split() == ["We", "use", "Matomo"]
    assert found.code.split() == ["/a.js", "run()", ".x{}", "no", "b.png"]


def test_meta_elements_and_mailboxes_are_kept() -> None:
    """By name in lower case; the first of a name counts, as the first attribute does."""
    html = """<meta NAME="Generator" content="A" content="B"><meta name=generator content=C>
    <meta property="og:title" content="T"/><a href="MAILTO:a@b.fr">x</a><span data-cfemail="00"></span>"""
    found = document(html)
    assert (found.meta, found.mailboxes, found.hidden) == (
        {"generator": "A", "og:title": "T"},
        ["MAILTO:a@b.fr"],
        ["00"],
    )


def test_what_is_no_html_is_not_looked_into() -> None:
    """A PDF has no title of this kind."""
    page = Page("https://acme.fr/", 200, {"content-type": "application/pdf"}, b"<title>x</title>")
    assert pages.read(page) == Document("https://acme.fr/")


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_any_page_can_be_read(html: str) -> None:
    """Malformed is the usual form: never an error, and links stay what they promise."""
    found = document(html)
    assert all(url.startswith(("http://", "https://")) for url, _ in found.links)
    assert found.title is None or found.title.strip() == found.title != ""


@pytest.mark.parametrize(
    "unit",
    ["<", "<!--", "<a b='", "</", "<![", "<a/", "<a href=x>y", "&", "<!", "<script></", "<a b=", "<title>", "'<p "],
)
def test_a_hostile_page_is_read_in_bounded_time(unit: str) -> None:
    """Unfinished tags must not hold a worker: the time grows with the size and not with its square."""

    def seconds(size: int) -> float:
        html = unit * (size // len(unit))
        return cpu_seconds(lambda: document(html))

    assert seconds(400_000) < max(20 * seconds(40_000), 1.0)
