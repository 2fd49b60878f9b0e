"""The two planes behind the gate: Connexion on Flask for the control plane, plain ASGI for `/v1` and streams."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import flask
from a2wsgi import WSGIMiddleware
from connexion import FlaskApp
from connexion.middleware.context import ContextMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.main import API
from connexion.middleware.request_validation import RequestValidationMiddleware
from werkzeug.routing import Rule

from app.spec.bridge import HandlerResolver, MatchedRouting, Specification31, validator_map
from app.wire.call import Call
from app.wire.replies import WHOLE, App, Receive, Reply, Scope, Send, send_reply
from app.wire.rules import Rules

Json = dict[str, Any]
AsyncHandler = Callable[..., Awaitable[Reply]]
# Connexion's default of 10 lets ten slow requests stall every other one.
THREADS = 40
CALL = "yardmaster.call"


def sync_plane(
    document: Json, rules: Mapping[str, Rules], find: Callable[[str], Callable[..., Any]], name: str = "app"
) -> tuple[App, flask.Flask]:
    """Connexion over the sync operations of the document, and the Flask application inside it."""
    logging.getLogger("connexion").setLevel(logging.WARNING)
    middlewares = [MatchedRouting, RequestValidationMiddleware, LifespanMiddleware, ContextMiddleware]
    app = FlaskApp(name, middlewares=middlewares)
    app._middleware_app.asgi_app = WSGIMiddleware(app.app.wsgi_app, workers=THREADS)  # noqa: SLF001 (no public way)
    app.app.url_map.merge_slashes = False
    app.app.url_rule_class = MatchedRule
    specification = Specification31(_view(document, "sync"))
    options = {"resolver": HandlerResolver(find), "validator_map": validator_map(rules.__getitem__)}
    connexion = app.middleware
    connexion.apis.append(API(specification, base_path="", name=None, **options))
    # Connexion builds its layers on the first request; a gap must stop the start instead.
    connexion.app, connexion.middleware_stack = connexion._build_middleware_stack()  # noqa: SLF001
    return app, app.app


class MatchedRule(Rule):
    """A route that is only ever matched: compiling what would build URLs from it took half of the start."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:  # noqa: ARG002
        return _unbuilt


def _unbuilt(*_: Any, **__: Any) -> tuple[str, str]:
    raise LookupError("routes here are matched; addresses are not built from them")


def _view(document: Json, plane: str) -> Json:
    """The document with only this plane's operations; path parameters as strings, for the index has decoded them."""
    paths: Json = {}
    for path, item in document["paths"].items():
        kept = {m: _routable(o) for m, o in item.items() if isinstance(o, dict) and o.get("x-plane", "sync") == plane}
        if kept:
            paths[path] = kept
    return {"openapi": document["openapi"], "info": document["info"], "paths": paths, "components": {}}


def _routable(operation: Json) -> Json:
    """What Connexion needs of an operation: its id, and which media types may carry a body."""
    body = {media: {"schema": {"type": "object"}} for media in operation.get("requestBody", {}).get("content", ())}
    kept: Json = {"operationId": operation["operationId"], "responses": {}}
    return kept | ({"requestBody": {"content": body}} if body else {})


class AsyncPlane:
    """Serves async operations without a framework: decode, check, call, send."""

    def __init__(self, rules: Mapping[str, Rules], find: Callable[[str], AsyncHandler]) -> None:
        self._rules = rules
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one matched call."""
        call: Call = scope[CALL]
        call.receive = receive
        try:
            rules = self._rules[call.operation.id]
            rules.read_parameters(call)
            await rules.read_body(call, receive)
            reply = await self._find(call.operation.id)(call, **call.arguments)
            await send_reply(reply, receive, send, whole=WHOLE in scope.get("extensions", ()))
        finally:
            call.receive = None  # the connection holds the call: a circle that only the collector could undo
