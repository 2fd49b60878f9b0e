"""The headers of every answer: what browsers are told about bodies, caches and pages of other origins."""

from __future__ import annotations

from typing import Any

import pytest

from app.spec.join import bundle
from app.spec.operations import Index
from support.callers import Client

ORIGIN = "https://desk.example"
ANSWERS = (
    ("GET", "/health", 200),
    ("GET", "/api/auth/users", 200),
    ("GET", "/api/auth/users?limit=none", 400),
    ("GET", "/nowhere", 404),
    ("PUT", "/health", 405),
    ("GET", "/v1/models", 200),
    ("POST", "/v1/chat/completions", 400),
    ("GET", "/api/docs", 200),
    ("GET", "/api/openapi.json", 200),
)


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
def test_no_browser_may_guess_another_media_type(client: Client, method: str, path: str, status: int) -> None:
    """An answer that quotes a caller must never be run as a page (Fetch §3.6)."""
    answer = client.admin.request(method, path)
    assert answer.status_code == status
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
def test_a_cache_keeps_origins_apart(client: Client, method: str, path: str, status: int) -> None:
    """Kept without `Vary`, an answer to no origin would be given to a page that then may not read it."""
    for headers in ({}, {"origin": ORIGIN}):
        answer = client.admin.request(method, path, headers=headers)
        assert "Origin" in answer.headers["vary"]
        assert answer.headers.get("access-control-allow-origin") == headers.get("origin")


@pytest.mark.parametrize("origin", ["null", "http://127.0.0.1:3000", "moz-extension://1234-abcd"])
def test_browsers_origins_are_echoed(anonymous: Any, origin: str) -> None:
    """Pages from files and extensions call the server too."""
    assert anonymous.get("/health", headers={"origin": origin}).headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("origin", ["", "desk", "null, https://a", "https://a b", "https://é", "https://" + "a" * 300])
def test_what_no_browser_sends_is_not_echoed(anonymous: Any, origin: str) -> None:
    """Nothing strange goes back into a header."""
    answer = anonymous.get("/health", headers={"origin": origin.encode("latin-1")})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_no_page_acts_with_its_visitors_session(client: Client) -> None:
    """A cookie must never count for a page of another origin: nowhere are credentials allowed."""
    asked = {"origin": ORIGIN, "access-control-request-method": "POST"}
    for method, path, _ in ANSWERS:
        for sent in ("OPTIONS", method):
            answer = client.admin.request(sent, path, headers=asked)
            assert "access-control-allow-credentials" not in answer.headers


def test_a_preflight_admits_what_official_clients_send(anonymous: Any) -> None:
    """OpenAI's SDK in a page sends a dozen headers of its own; without the wildcard its calls never leave."""
    wanted = "authorization,content-type,x-stainless-arch,openai-organization"
    asked = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": wanted}
    answer = anonymous.request("OPTIONS", "/v1/chat/completions", headers=asked)
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert answer.status_code == 204
    assert {"authorization", "content-type", "*"} <= allowed
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert int(answer.headers["access-control-max-age"]) > 0


def test_a_page_may_read_every_header(anonymous: Any) -> None:
    """Costs, trace ids and limits are told in headers, and a page must see them."""
    answer = anonymous.get("/health", headers={"origin": ORIGIN})
    assert "*" in answer.headers["access-control-expose-headers"].split(", ")


def test_the_document_promises_these_headers() -> None:
    """Of every answer of every operation, refusals included."""
    document = bundle()
    shared = document["components"]["responses"]
    for operation in Index(document).by_id.values():
        for status, response in operation.raw["responses"].items():
            promised = shared[response["$ref"].rsplit("/", 1)[1]] if "$ref" in response else response
            assert "X-Content-Type-Options" in promised["headers"], f"{operation.id} {status}"
