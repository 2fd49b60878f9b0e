"""The documentation page in a real browser: the operations are there, and trying one out works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.browser import CHROMIUM, DRIVER, MISSING, Browser, browser
from support.servers import Server

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)

TAGS = "return [...document.querySelectorAll('.opblock-tag-section h3')].map(h => h.dataset.tag)"
OPERATIONS = "return [...document.querySelectorAll('.opblock-summary-path')].map(p => p.dataset.path)"
CLICK = "const found = document.querySelector(arguments[0]); if (found) { found.click(); } return !!found"
TEXT = "return (document.querySelector(arguments[0]) || {}).innerText || ''"
REQUESTS = "return performance.getEntriesByType('resource').map(entry => entry.name)"
TYPE = """
const field = document.querySelector(arguments[0]);
const native = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
native.set.call(field, arguments[1]);
field.dispatchEvent(new Event("input", { bubbles: true }));
field.dispatchEvent(new Event("change", { bubbles: true }));
return true;
"""


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    """One browser for the module."""
    with browser() as opened:
        yield opened


def tried(window: Browser, operation: str) -> str:
    """Try an opened operation out, and read the status it answered."""
    block = f"#operations-{operation}"
    for step in (f"{block} .try-out__btn", f"{block} .execute"):
        window.until(CLICK, step)
    return str(window.until(TEXT, f"{block} .live-responses-table tbody .response-col_status"))


def _tags(item: Any) -> set[str]:
    """The groups of a path's operations."""
    return {operation["tags"][0] for operation in item.values() if "operationId" in operation}


def test_the_operations_are_listed(window: Browser, shared_server: Server) -> None:
    """Every group, every operation of an opened one, and not one request that left this server or was blocked."""
    window.open(f"{shared_server.base_url}/api/docs")
    document: Any = shared_server.request("GET", "/api/openapi.json").json()
    assert set(window.until(TAGS)) == set().union(*map(_tags, document["paths"].values()))
    window.until(CLICK, "#operations-tag-proxy button.expand-operation")
    listed = window.until(OPERATIONS)
    assert set(listed) == {path for path, item in document["paths"].items() if "proxy" in _tags(item)}
    assert {url.split("/api/")[0] for url in window.run(REQUESTS)} == {shared_server.base_url}
    assert window.complaints() == []


def test_an_open_operation_can_be_tried(window: Browser, shared_server: Server) -> None:
    """The page is where most people send their first request; a link leads straight to the operation."""
    window.open(f"{shared_server.base_url}/api/docs#/system/get_health")
    assert tried(window, "system-get_health").startswith("200")
    assert '"status": "ok"' in window.run(TEXT, "#operations-system-get_health .live-responses-table")


def test_a_key_is_sent_with_what_is_tried(window: Browser, shared_server: Server) -> None:
    """Authorize once, then every operation that needs the key has it."""
    window.open(f"{shared_server.base_url}/api/docs")
    window.until(CLICK, ".btn.authorize")
    window.until(TYPE, ".modal-ux #auth-bearer-value", shared_server.admin_key)
    window.until(CLICK, ".modal-ux .btn.authorize[type=submit]")
    window.until(CLICK, ".modal-ux .btn-done")
    window.until(CLICK, "#operations-tag-proxy button.expand-operation")
    window.until(CLICK, "#operations-proxy-get_chain .opblock-summary-control")
    assert tried(window, "proxy-get_chain").startswith("200")


def test_a_locked_document_is_read_with_a_key(window: Browser, serve: Any) -> None:
    """The page asks, says what is wrong with a wrong key, and opens with a right one."""
    server = serve(docs="locked", rate_limits="off")
    window.open(f"{server.base_url}/api/docs")
    window.until("return !document.getElementById('unlock').hidden")
    window.run(TYPE, "#key", "sy_wrong")
    window.run(CLICK, "#unlock button")
    assert "Invalid API key" in window.until(TEXT, "#trouble:not([hidden])")
    window.run(TYPE, "#key", server.user_key)
    window.run(CLICK, "#unlock button")
    assert "system" in window.until(TAGS)
    assert window.run("return document.getElementById('unlock').hidden")
