"""The bridge to Connexion 3: OpenAPI 3.1, our routing, and validators compiled once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connexion.middleware.abstract import ROUTING_CONTEXT, SpecMiddleware
from connexion.operations import AbstractOperation
from connexion.resolver import Resolution, Resolver
from connexion.spec import OpenAPISpecification

Json = dict[str, Any]
CALL = "yardmaster.call"
# Left on a request whose body has been read, these make Flask wait for a form that does not come.
OF_BODY = frozenset({b"content-type", b"content-length", b"transfer-encoding"})


class Specification31(OpenAPISpecification):  # type: ignore[misc]
    """A 3.1 document as Connexion reads it. Connexion's own check knows 3.0 only, so ours replaces it."""

    @classmethod
    def _validate_spec(cls, spec: Json) -> None:
        """Nothing: `check` runs where documents are made, not on every start."""

    @property
    def base_path(self) -> str:
        """Paths are written whole; servers are relative."""
        return ""

    @base_path.setter
    def base_path(self, _: str) -> None: ...


def check(document: Json) -> list[str]:
    """Where the document is no valid OpenAPI 3.1, one line each; empty when it is."""
    from openapi_spec_validator import OpenAPIV31SpecValidator  # noqa: PLC0415 (slow to load, and no server needs it)

    errors = OpenAPIV31SpecValidator(document).iter_errors()
    return [f"{'/'.join(str(p) for p in e.absolute_path)}: {e.message[:200]}" for e in errors]


class HandlerResolver(Resolver):  # type: ignore[misc]
    """Finds the handler of an operation by its id, dressed for its plane."""

    def __init__(self, find: Callable[[str], Callable[..., Any]]) -> None:
        super().__init__()
        self._find = find

    def resolve(self, operation: AbstractOperation) -> Resolution:
        """The dressed handler and the operation id."""
        return Resolution(self._find(operation.operation_id), operation.operation_id)


class MatchedRouting(SpecMiddleware):  # type: ignore[misc]
    """Tells Connexion which operation was matched; the gate has already looked it up."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def add_api(self, specification: Any, **kwargs: Any) -> None:
        """Routes come from the index, not from here."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Put the operation's id where Connexion's later layers look for it."""
        if scope["type"] == "http":
            call = scope[CALL]
            routing = {"api_base_path": "", "operation_id": call.operation.id}
            scope.setdefault("extensions", {})[ROUTING_CONTEXT] = routing
            # Flask routes once more: the template itself always leads to the operation, whatever the caller's
            # segments hold (encoded slashes, for one). Arguments come from the call.
            scope["path"], scope["path_params"] = call.operation.path, dict(call.path)
        await self.app(scope, receive, send)


def validator_map(rules: Callable[[str], Any]) -> Json:
    """Connexion's validators, each handing over to the compiled rules of the operation; `rules(id)` finds them."""

    class ParameterValidator:
        """Reads parameters into the call."""

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def validate(self, scope: Any) -> None:
            """Decode and check path, query and headers."""
            rules(scope[CALL].operation.id).read_parameters(scope[CALL])

    class BodyValidator:
        """Reads the body into the call; nothing of it is left to be read again."""

        def __init__(self, *_: Any, **__: Any) -> None: ...

        async def wrap_receive(self, receive: Any, *, scope: Any) -> tuple[Any, Any]:
            """Decode and check the body; what follows sees an empty one."""
            await rules(scope[CALL].operation.id).read_body(scope[CALL], receive)
            return _empty, scope | {"headers": [h for h in scope["headers"] if h[0] not in OF_BODY]}

    return {"parameter": ParameterValidator, "body": _Any(BodyValidator), "response": {}}


class _Any(Mapping[str, Any]):
    """One validator for every media type: whether the type is accepted is for the rules to say."""

    def __init__(self, validator: type) -> None:
        self._validator = validator

    def __getitem__(self, media: str) -> Any:
        return self._validator

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 1


async def _empty() -> Json:
    return {"type": "http.request", "body": b"", "more_body": False}
