"""The one assertion about refusals: the envelope, the code and the headers of the operation's dialect."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import jsonschema_rs

from app.spec.operations import Index
from app.wire.dialects import MALFORMED, STACKFLOW_CODES

Json = dict[str, Any]


class Refusals:
    """Asserts refusals of one document: `refused(response, 404, "not_found")` gives the body.

    The code is neutral (a value of `app.problems.CODES`, or the operation's own): StackFlow says it in capitals, Stout
    as the status's phrase, Outsend not at all. The body must also satisfy the schema the document promises.
    """

    def __init__(self, document: Json) -> None:
        self.document = document
        self.index = Index(document)

    def __call__(self, response: Any, status: int, code: str = "") -> Json:
        """The body of the refusal, proven to be one."""
        assert response.status_code == status, f"{response.status_code} {response.text}"
        assert response.headers["x-request-id"]
        assert response.headers["content-type"] == "application/json"
        body: Json = response.json()
        dialect = self.dialect(response)
        self._promised(dialect, body)
        told = SAYS[self.document["x-dialects"][dialect]["errors"]](body, status)
        wanted = STACKFLOW_CODES.get(code, code.upper()) if dialect == "stackflow" else _stockyard(code)
        assert told in {None, wanted} or not code, f"{told} instead of {wanted}: {body}"
        return body

    def dialect(self, response: Any) -> str:
        """The dialect of the operation that was asked."""
        sent, method = response.request.url.raw_path, response.request.method
        path = sent.partition(b"?")[0].decode()
        match = self.index.match(path)
        if match is None:
            return self.index.nearest(path)
        return match.methods.get(method, next(iter(match.methods.values()))).dialect

    def _promised(self, dialect: str, body: Json) -> None:
        schema = {"$ref": f"#/components/schemas/{self.document['x-dialects'][dialect]['schema']}"}
        jsonschema_rs.validate(schema | {"components": self.document["components"]}, body)


def _stockyard(code: str) -> str:
    return "bad_request" if code in MALFORMED else code


def _nested(body: Json, status: int) -> str:
    assert body["error"]["status"] == status
    return str(body["error"]["code"])


def _flat(body: Json, status: int) -> None:
    assert body["statusCode"] == status
    assert body["error"] == HTTPStatus(status).phrase


def _detail(body: Json, _status: int) -> None:
    assert body["detail"]


def _record(body: Json, _status: int) -> str:
    assert body["error"]
    return str(body["code"])


def _oauth(body: Json, _status: int) -> str:
    assert body["error_description"]
    return str(body["error"])


def _anthropic(body: Json, _status: int) -> None:
    assert body["error"]["message"]
    assert body["request_id"]


def _flat_detail(body: Json, status: int) -> None:
    _flat(body, status)
    _detail(body, status)


def _nested_detail(body: Json, status: int) -> str:
    _detail(body, status)
    return _nested(body, status)


def _nested_flat_detail(body: Json, status: int) -> str:
    assert body["statusCode"] == status
    assert body["message"]
    return _nested_detail(body, status)


SINGLE = {
    "nested": _nested,
    "openai": _nested,
    "anthropic": _anthropic,
    "flat": _flat,
    "detail": _detail,
    "record": _record,
    "oauth": _oauth,
}
SAYS: Any = SINGLE | {f.__name__.strip("_"): f for f in (_flat_detail, _nested_detail, _nested_flat_detail)}
