"""What the fuzzer needs of us: a credential for each operation, and the end of streams that have none."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from typing import Any

import requests
import schemathesis
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from urllib3.exceptions import ReadTimeoutError

BASE = os.environ["CONTRACT_BASE_URL"]
ADMIN = os.environ["CONTRACT_ADMIN_KEY"]
QUIET_S = 1.0
UNKNOWN_HEADER = "x-schemathesis-unknown-property"
STREAM = "text/event-stream"


@schemathesis.auth(refresh_interval=None)
class Credentials:
    """The key the document asks for: the operator's where one is taken, else a live user's.

    The fuzzer revokes keys and deletes users as anybody may, so a user key is looked at before each use.
    """

    user = ""

    def get(self, _case: Any, context: Any) -> str:
        """A key that works now."""
        asked = context.operation.definition.raw.get("security", [])
        if any("admin" in roles for requirement in asked for roles in requirement.values()):
            return ADMIN
        if not self.user or not requests.get(f"{BASE}/api/auth/me", headers=_bearer(self.user), timeout=10).ok:
            self.user = _sign_up()
        return self.user

    def set(self, case: Any, data: str, _context: Any) -> None:
        """Send it as a bearer token."""
        case.headers = {**(case.headers or {}), **_bearer(data)}


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _sign_up() -> str:
    body = {"email": f"fuzz-{uuid.uuid4().hex}@example.com"}
    answer = requests.post(f"{BASE}/api/auth/signup", json=body, headers=_bearer(ADMIN), timeout=10)
    answer.raise_for_status()
    return str(answer.json()["api_key"]["key"])


RULED = {412, 422}


@schemathesis.check
def valid_data_is_accepted(context: Any, response: Any, case: Any) -> None:
    """As the fuzzer's own check, which knows only schemas: three refusals of valid data are promises of the document.

    412 and 422 where the operation lists them (rules no schema can say), a cursor that no page of the query gave, and
    400 where the operation says by `x-refined-by` which schema, different for each thing, narrows its body further.
    """
    raw = case.operation.definition.raw
    refined = response.status_code == 400 and "x-refined-by" in raw and b'"issues":[{"field":"body.' in response.content
    ruled = response.status_code in RULED and str(response.status_code) in raw["responses"]
    made_up = "cursor" in (case.query or {}) and b"invalid_cursor" in response.content.lower()
    if not ruled and not made_up and not refined:
        positive_data_acceptance(context, response, case)


@schemathesis.check
def invalid_data_is_refused(context: Any, response: Any, case: Any) -> None:
    """As the fuzzer's own check, but a header nobody knows is no invalid data (RFC 9110 §5.1)."""
    if UNKNOWN_HEADER not in (case.headers or {}):
        negative_data_rejection(context, response, case)


_send = requests.Session.send


def _send_and_end(self: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
    """As usual; of a stream, what came until it was quiet for a second, for it may never end by itself."""
    options["stream"] = True
    response = _send(self, request, **options)
    if response.headers.get("content-type", "").startswith(STREAM):
        response._content = _read(response)
        response._content_consumed = True
        response.close()
    else:
        assert response.content is not None
    return response


def _read(response: requests.Response) -> bytes:
    connection = getattr(response.raw, "connection", None) or response.raw._connection
    connection.sock.settimeout(QUIET_S)
    parts: list[bytes] = []
    with suppress(ReadTimeoutError, TimeoutError):
        parts.extend(response.raw.stream(1, decode_content=True))
    return b"".join(parts)


requests.Session.send = _send_and_end  # type: ignore[method-assign]
