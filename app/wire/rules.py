"""What one operation accepts, compiled: the same for both planes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.spec.operations import Index, Operation
from app.wire.call import Call
from app.wire.replies import Receive, read_body
from app.wire.validators import Body, Parameters, registry


class Rules:
    """Parameters and body of one operation."""

    def __init__(self, operation: Operation, known: Any, manners: Mapping[str, Any]) -> None:
        strict = not manners.get("forwards")  # it passes on what it does not know
        self.parameters = Parameters(operation, known, strict=strict)
        # A body that is streamed is read by its handler, piece by piece; it is no JSON to be checked here.
        read = "requestBody" in operation.raw and operation.raw.get("x-body") != "stream"
        self.body = Body(operation, known, strict=strict) if read else None
        self.max_body = int(manners["body"])

    def read_parameters(self, call: Call) -> None:
        """Put decoded path, query and headers into the call; Problem with every issue."""
        call.arguments = self.parameters.read(call.path, call.query, call.headers)

    async def read_body(self, call: Call, receive: Receive) -> None:
        """Put the decoded body into the call; Problem when it is too large, unreadable or breaks its schema."""
        if self.body is not None:
            call.raw = raw = await read_body(receive, self.max_body)
            call.body = self.body.read(raw, call.headers.get("content-type", ""))


def compile_rules(index: Index) -> dict[str, Rules]:
    """Every operation's rules by its id, compiled at start so that no request pays for it."""
    known = registry(index.document)
    manners = index.document["x-dialects"]
    return {o.id: Rules(o, known, manners[o.dialect]) for o in index.by_id.values()}
