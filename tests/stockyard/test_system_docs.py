"""The served document and the page it is read on."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.documentation import Text, holds
from app.spec.bridge import check
from support.callers import Client
from support.envelopes import Refusals

DOCUMENT = "/api/openapi.json"
ASSETS = {
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
PLAIN = {"accept-encoding": "identity"}
TEXT = Text(b"some text", "application/json")


def test_the_document_served_is_the_one_the_server_runs_by(client: Client, document: dict[str, Any]) -> None:
    """A twin made for readers could drift from what is enforced."""
    response = client.anonymous.get(DOCUMENT)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json() == document == client.application.runtime.index.document
    assert response.json()["openapi"].startswith("3.1.")
    assert check(response.json()) == []


@pytest.mark.parametrize("path", [DOCUMENT, "/api/docs", "/api/docs/swagger-ui.css"])
def test_what_is_held_already_is_not_sent_again(anonymous: Any, path: str) -> None:
    """Code generators and browsers ask often; a megabyte each time is a bill."""
    first = anonymous.get(path, headers=PLAIN)
    tag = first.headers["etag"]
    assert not tag.startswith("W/")
    for held in (tag, f'"other", W/{tag}', "*"):
        again = anonymous.get(path, headers=PLAIN | {"if-none-match": held})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in again.headers
    assert anonymous.get(path, headers=PLAIN | {"if-none-match": '"other"'}).content == first.content


def test_the_compressed_form_is_another_with_its_own_tag(anonymous: Any) -> None:
    """A strong tag names one sequence of bytes; a cache that mixed the two would serve garbage."""
    plain = anonymous.get(DOCUMENT, headers=PLAIN)
    zipped = anonymous.get(DOCUMENT, headers={"accept-encoding": "br, gzip;q=0.5"})
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in zipped.headers["vary"]
    assert int(zipped.headers["content-length"]) * 4 < int(plain.headers["content-length"])
    assert zipped.headers["etag"] != plain.headers["etag"]
    assert zipped.json() == plain.json()


@given(st.binary(max_size=200), st.sampled_from(["gzip", "*", "GZIP ; q=1", "br,gzip", "", "gzip;q=0", "identity"]))
def test_every_form_says_the_same(raw: bytes, accepted: str) -> None:
    """Whatever a client accepts, what it decodes is the text."""
    body, coding, tag = Text(raw, "application/json").form(accepted)
    assert (gzip.decompress(body) if coding else body) == raw
    assert bool(coding) == (accepted not in {"", "gzip;q=0", "identity"})
    assert holds(tag, tag)


def test_pictures_are_compressed_once() -> None:
    """A PNG is compressed already; a second time costs both sides and saves nothing."""
    assert Text(b"...", "image/png").form("gzip")[1] == ""


@pytest.mark.settings(docs="locked")
def test_a_locked_document_needs_a_key(client: Client, refused: Refusals) -> None:
    """An operator may not want to tell strangers what there is; any key of theirs opens it."""
    body = refused(client.anonymous.get(DOCUMENT), 401, "unauthorized")
    assert "locked" in body["error"]["message"]
    assert client.user.get(DOCUMENT).status_code == client.admin.get(DOCUMENT).status_code == 200
    assert client.anonymous.get("/api/docs").status_code == 200, "the page asks for the key"


def test_a_wrong_key_is_refused_even_where_none_is_needed(client: Client, refused: Refusals) -> None:
    """Whoever sends a key means it, and should learn that it is not one."""
    refused(client.bearing("sy_" + "x" * 43).get(DOCUMENT), 401, "unauthorized")


@pytest.mark.parametrize(("name", "media"), ASSETS.items())
def test_every_file_of_the_page_is_served(anonymous: Any, name: str, media: str) -> None:
    """With the type a browser insists on, since it is told not to guess."""
    response = anonymous.get(f"/api/docs/{name}")
    assert (response.status_code, response.headers["content-type"]) == (200, media)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.content


def test_only_files_of_the_page_are_served(anonymous: Any, refused: Refusals) -> None:
    """Neither the page's neighbours nor what lies above them."""
    for name in ("docs.html", "swagger-ui.LICENSE.txt", "..%2F..%2Fsettings.py", "nonsense.js"):
        refused(anonymous.get(f"/api/docs/{name}"), 400, "bad_request")


def test_the_page_loads_nothing_from_elsewhere(anonymous: Any) -> None:
    """No host but this one learns who reads it, and nothing can be slipped in."""
    response = anonymous.get("/api/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(rule.split(" ", 1) for rule in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "//" not in response.text.replace("<!doctype html>", "")
    assert "<script>" not in response.text
    for source in ("docs/swagger-ui-bundle.js", "docs/docs.js", "docs/swagger-ui.css", "docs/docs.css"):
        assert source in response.text
