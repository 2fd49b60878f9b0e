"""What the fuzzer needs of us: a credential for each operation, and the end of streams that have none."""

from __future__ import annotations

import re
from base64 import b64encode
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import one_parser  # noqa: F401 (before any thread is begun)
import requests
import schemathesis
from hypothesis import strategies as st
from identities import BASE, Identities
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    ensure_resource_availability,
    negative_data_rejection,
    positive_data_acceptance,
)
from urllib3.exceptions import ReadTimeoutError

UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
NUMBER = re.compile(r"[1-9][0-9]{0,14}")
# These are about a call that is held: they are led to one.
HELD = {"get_approval", "approve_call", "reject_call"}
QUIET_S = 1.0
UNKNOWN_HEADER = "x-schemathesis-unknown-property"
STREAM = "text/event-stream"


identities = Identities()


@schemathesis.auth(refresh_interval=None)
class Credentials:
    """The credential the document asks for. The fuzzer ends sessions, keys and accounts as anybody may."""

    def get(self, _case: Any, context: Any) -> dict[str, str]:
        """Headers that work now."""
        return identities.headers(context.operation.definition.raw.get("security", []))

    def set(self, case: Any, data: dict[str, str], _context: Any) -> None:
        """Send them; a well-formed org becomes the one the caller is in, a box or a group of boxes one of that org.

        The number of a call that waits for approval becomes that of one that does.
        """
        name = case.operation.definition.raw["operationId"]
        case.headers = {**(case.headers or {}), **data}
        given = case.path_parameters or {}
        if "orgId" in given:
            places = identities.places(given)
            if name == "delete_org":
                places["orgId"] = identities.spare_org(data)
            if name == "delete_box":
                places["boxId"] = identities.spare_box(data)
            given.update({place: places[place] for place in given if place in places and _is_uuid(given[place])})
        if name in HELD and _is_number(given.get("id")):
            given["id"] = identities.held_call()
        if name == "claim_job" and isinstance(case.body, dict) and "waitSeconds" in case.body:
            case.body = _impatient(case.body)


def _is_number(value: Any) -> bool:
    return type(value) in (int, str) and NUMBER.fullmatch(str(value)) is not None


def _is_uuid(value: Any) -> bool:
    return UUID.fullmatch(str(value)) is not None


def _impatient(body: dict[str, Any]) -> dict[str, Any]:
    """The same without the wait, where it is a valid one: a fuzzer has not the time."""
    wait = body["waitSeconds"]
    return body | {"waitSeconds": 1 if type(wait) is int and 1 < wait <= LONGEST_WAIT_S else wait}


RULED = {410, 412, 422}
NOT_FOUND = 404
MALFORMED = 400
TOO_LARGE = 413
LONGEST_WAIT_S = 30
UNAVAILABLE = 503


def _says_invalid_otherwise(case: Any) -> bool:
    """Whether the dialect has another status for data that breaks the schema: 400 then tells of a rule, too."""
    document, raw = case.operation.schema.raw_schema, case.operation.definition.raw
    dialect = raw.get("x-dialect") or next(t["x-dialect"] for t in document["tags"] if t["name"] == raw["tags"][0])
    return bool(document["x-dialects"][dialect]["invalid"] != MALFORMED)


def _ed25519(point: bytes) -> str:
    parts = (b"ssh-ed25519", point)
    return "ssh-ed25519 " + b64encode(b"".join(len(p).to_bytes(4, "big") + p for p in parts)).decode()


schemathesis.openapi.format("text", st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
schemathesis.openapi.format("ssh-public-key", st.binary(min_size=32, max_size=32).map(_ed25519))


@schemathesis.check
def valid_data_is_accepted(context: Any, response: Any, case: Any) -> None:
    """As the fuzzer's own check, which knows only schemas: some refusals of valid data are promises of the document.

    410, 412 and 422 where the operation lists them (what has ended, and rules no schema can say), 400 where the dialect
    says those so, a cursor that no page of the query gave, and 400 where the operation says by `x-refined-by` which
    schema, different for each thing, narrows its body further.
    """
    raw = case.operation.definition.raw
    refined = response.status_code == 400 and "x-refined-by" in raw and b'"issues":[{"field":"body.' in response.content
    ruled = response.status_code in RULED and str(response.status_code) in raw["responses"]
    ruled = ruled or (response.status_code == MALFORMED and _says_invalid_otherwise(case))
    made_up = "cursor" in (case.query or {}) and b"invalid_cursor" in response.content.lower()
    if not (ruled or made_up or refined or _mislinked(case)):
        positive_data_acceptance(context, response, case)


def _mislinked(case: Any) -> bool:
    """Whether a parameter was taken from an earlier answer by its name alone: an id of another thing."""
    operation = case.operation
    sent = ((operation.path_parameters, case.path_parameters or {}), (operation.query, case.query or {}))
    simple = ((p, held.get(p.name)) for declared, held in sent for p in declared)
    return not all(p.is_valid(value) for p, value in simple if type(value) in (str, int))


@schemathesis.check
def invalid_data_is_refused(context: Any, response: Any, case: Any) -> None:
    """As the fuzzer's own check, but a header nobody knows is no invalid data (RFC 9110 §5.1), and 413 is a refusal."""
    if UNKNOWN_HEADER not in (case.headers or {}) and response.status_code != TOO_LARGE:
        negative_data_rejection(context, response, case)


@schemathesis.check
def what_was_made_is_there(context: Any, response: Any, case: Any) -> None:
    """As the fuzzer's own check; but a 404 is about another thing where a body names one, and the path's are there."""
    if not (response.status_code == NOT_FOUND and _names_another(case.body) and _is_path_there(case)):
        ensure_resource_availability(context, response, case)


def _names_another(body: Any) -> bool:
    return isinstance(body, dict) and any(name.endswith(("Id", "Ids")) for name in body)


def _is_path_there(case: Any) -> bool:
    """Whether each thing in the path is found when it is asked for by itself; False when none can be asked for."""
    paths, parts = case.operation.schema.raw_schema["paths"], case.operation.path.split("/")
    given = {name: quote(str(value), safe="") for name, value in (case.path_parameters or {}).items()}
    things = ["/".join(parts[: at + 1]) for at, part in enumerate(parts) if part.startswith("{")]
    asked = [(BASE + thing.format(**given), paths[thing]["get"]) for thing in things if "get" in paths.get(thing, {})]
    seen = [requests.get(url, headers=identities.headers(get.get("security", [])), timeout=10) for url, get in asked]
    return bool(seen) and all(answer.status_code != NOT_FOUND for answer in seen)


# A job type that is not built; a provider that is not configured, on a server to which the fuzzer gave another one.
NOT_THERE = (b'is not available yet"', b"No provider is configured for")


@schemathesis.check
def the_server_does_not_fail(context: Any, response: Any, case: Any) -> None:
    """As the fuzzer's own check; what a server has not, by its registry or its settings, is no failure, if listed."""
    listed = str(UNAVAILABLE) in case.operation.definition.raw["responses"]
    said = response.status_code == UNAVAILABLE and any(reason in response.content for reason in NOT_THERE)
    if not (listed and said):
        not_a_server_error(context, response, case)


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
