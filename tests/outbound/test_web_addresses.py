"""Web addresses: one form for all ways to write the same, and no form for what is none."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.outbound.web_addresses import absolute, canonical, host

PARTS = st.lists(st.sampled_from([*"/.?#%:@[]&=aé2E ", "..", "%7E", "%c3", "www.", "acme", ".fr", "http://", "日本"]))


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("acme.fr", "https://acme.fr/"),
        ("  Acme.FR/Contact ", "https://acme.fr/Contact"),
        ("//acme.fr", "https://acme.fr/"),
        ("HTTP://ACME.fr:80", "http://acme.fr/"),
        ("https://acme.fr:443/a/../b/./c", "https://acme.fr/b/c"),
        ("https://acme.fr/a/..", "https://acme.fr/"),
        ("https://acme.fr/a/b/.", "https://acme.fr/a/b/"),
        ("https://acme.fr/../..", "https://acme.fr/"),
        ("https://acme.fr/a/%2e%2E/b", "https://acme.fr/b"),
        ("https://acme.fr:8443/", "https://acme.fr:8443/"),
        ("acme.fr:8080/x", "https://acme.fr:8080/x"),
        ("https://acme.fr./", "https://acme.fr/"),
        ("https://Bücher.de", "https://xn--bcher-kva.de/"),
        ("https://acme.fr/été?q=é", "https://acme.fr/%C3%A9t%C3%A9?q=%C3%A9"),
        ("https://acme.fr/%7euser%2f%e9", "https://acme.fr/~user%2F%E9"),
        ("https://acme.fr/100%", "https://acme.fr/100%25"),
        ("https://acme.fr/?", "https://acme.fr/"),
        ("https://acme.fr/#top", "https://acme.fr/"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("http://[::1]/", "http://[::1]/"),
    ],
)
def test_an_address_has_one_form(written: str, form: str) -> None:
    """RFC 3986 §6.2.2 and §6.2.3, with IDNA for the host."""
    assert canonical(written) == form


@pytest.mark.parametrize(
    "written",
    ["", " ", "ftp://acme.fr", "mailto:a@acme.fr", "javascript:alert(1)", "http://", "http://a b.fr",
     "http://u:p@acme.fr",
     "http://acme.fr:0", "http://acme.fr:99999", "http://[::1", "http://-a.fr", "http://a..fr", "http://a\\b.fr",
     "x" * 3000],
)  # fmt: skip
def test_what_is_no_web_address_has_none(written: str) -> None:
    """Other schemes, credentials, and what two programs could read differently."""
    assert canonical(written) is None


@settings(deadline=None, max_examples=500)
@given(PARTS.map("".join))
@example("%25%2525")
@example("http://aͦ.fr/%")
def test_the_form_of_a_form_is_itself(written: str) -> None:
    """Normalising twice is normalising once."""
    form = canonical(written)
    assert form is None or canonical(form) == form


@pytest.mark.parametrize(
    ("written", "name"),
    [("https://www.Acme.fr/x", "acme.fr"), ("acme.fr", "acme.fr"), ("www.acme.fr:80", "acme.fr"), ("", ""), ("[", "")],
)
def test_the_host_is_told_without_www(written: str, name: str) -> None:
    """To compare sites by."""
    assert host(written) == name


def test_an_address_without_a_scheme_is_tried_both_ways() -> None:
    """Securely first; a scheme that was written is kept to."""
    assert absolute("acme.fr") == ["https://acme.fr/", "http://acme.fr/"]
    assert absolute("http://acme.fr") == ["http://acme.fr/"]
    assert absolute("mailto:x@acme.fr") == []
    assert absolute("not a site") == []
