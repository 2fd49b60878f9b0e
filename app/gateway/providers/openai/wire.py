"""OpenAI's wire format, spoken by most providers: nearly a pass-through, with the caller kept from host and key."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson

from app.gateway.providers.openai import errors
from app.gateway.providers.openai.stream import StreamDecoder, identity
from app.gateway.usage import estimate_output, from_openai, to_openai
from app.gateway.wire import Answer, BadAnswerError, Kind, Outgoing, Usage

if TYPE_CHECKING:
    from app.gateway.wire import Decoder, Json, Provider, Refusal, Target

PATHS: Final = {Kind.CHAT: "/chat/completions", Kind.COMPLETIONS: "/completions", Kind.EMBEDDINGS: "/embeddings"}

# No caller chooses where a request goes, or with which key: neither here nor, should the provider be a gateway
# itself, one step further on (CVE-2024-6587).
NEVER_FORWARDED: Final = frozenset(
    {
        "api_base",
        "api_key",
        "api_type",
        "api_version",
        "aws_access_key_id",
        "aws_bedrock_runtime_endpoint",
        "aws_secret_access_key",
        "aws_session_token",
        "azure_ad_token",
        "azure_endpoint",
        "base_url",
        "custom_llm_provider",
        "default_headers",
        "endpoint",
        "extra_body",
        "extra_headers",
        "extra_query",
        "fallbacks",
        "headers",
        "host",
        "litellm_params",
        "model_list",
        "organization",
        "proxy",
        "proxy_url",
        "user_config",
        "vertex_credentials",
    }
)

_JSON: Final = "application/json"
_ROWS: Final = {Kind.CHAT: "choices", Kind.COMPLETIONS: "choices", Kind.EMBEDDINGS: "data"}
_IDENTIFIED: Final = frozenset({Kind.CHAT, Kind.COMPLETIONS})
_OBJECTS: Final = {Kind.CHAT: "chat.completion", Kind.COMPLETIONS: "text_completion", Kind.EMBEDDINGS: "list"}
_READ: Final = {kind: ("object", "model", *(("id", "created") if kind in _IDENTIFIED else ())) for kind in Kind}
_HOLDS: Final[dict[Kind, tuple[str, type | tuple[type, ...]]]] = {
    Kind.CHAT: ("message", dict),
    Kind.COMPLETIONS: ("text", str),
    Kind.EMBEDDINGS: ("embedding", (list, str)),
}


class OpenAIWire:
    """OpenAI's shapes in, OpenAI's shapes out; stateless, one instance serves all."""

    __slots__ = ()

    def outgoing(self, kind: Kind, body: Json, target: Target) -> Outgoing:
        """The request; unknown fields are forwarded, and the body given is left as it was."""
        provider = target.provider
        if kind not in provider.kinds:
            raise ValueError(f"{provider.name} has no {kind}")
        fields = fields_for(provider, body)
        fields["model"] = target.model
        stream = kind is not Kind.EMBEDDINGS and bool(body.get("stream"))
        if stream and "stream_options" not in provider.drops:
            fields["stream_options"] = _with_usage(fields.get("stream_options"))
        try:
            encoded = orjson.dumps(fields)
        except TypeError as error:
            raise ValueError(f"the request cannot be written as JSON: {error}") from error
        return Outgoing(address(target.base_url, kind, target.model), headers(provider, target.key, stream), encoded)

    def answer(self, kind: Kind, raw: bytes, model: str) -> Answer:
        """A complete answer, the provider's own bytes kept wherever they already are one."""
        body = _parsed(raw)
        _require_rows(kind, body)
        usage = from_openai(body.get("usage"))
        changes = _missing(kind, body, model)
        if usage is None:
            usage = Usage(output=estimate_output(body), reported=False)
            changes["usage"] = to_openai(usage, kind)
        if kind is Kind.CHAT and _drop_empty_calls(body["choices"]):
            return Answer(body | changes, usage)
        return Answer(body | changes, usage) if changes else Answer(body, usage, raw)

    def decoder(self, kind: Kind, model: str) -> Decoder:
        """A fresh decoder; ValueError for embeddings, which have no streams."""
        return StreamDecoder(kind, model)

    def refusal(self, status: int, raw: bytes) -> Refusal:
        """The reason, on one line of at most 500 characters."""
        return errors.refusal(status, raw)


OPENAI_WIRE: Final = OpenAIWire()


def fields_for(provider: Provider, body: Json) -> Json:
    """A copy of the body without what is never forwarded or the provider refuses, its own names for the rest.

    Where a caller gives a field under both names, the provider's own name wins.
    """
    fields = body.copy()
    for unwanted in (NEVER_FORWARDED, provider.drops):
        if not unwanted.isdisjoint(fields):
            for name in unwanted.intersection(fields):
                del fields[name]
    for ours, theirs in provider.renames.items():
        if ours in fields:
            value = fields.pop(ours)
            fields.setdefault(theirs, value)
    return fields


def _with_usage(options: Any) -> Json:
    """Stream options that ask for usage: without it a stream could only be charged by guess."""
    return {**options, "include_usage": True} if isinstance(options, dict) else {"include_usage": True}


def headers(provider: Provider, key: str, stream: bool) -> dict[str, str]:
    """The request's headers; ValueError for a key that would break out of its header."""
    made = {"content-type": _JSON, "accept": "text/event-stream" if stream else _JSON}
    if key:
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"the key of {provider.name} holds characters no header can carry")
        made[provider.auth_header] = f"Bearer {key}" if provider.auth_header == "authorization" else key
    return made


@lru_cache(maxsize=4096)
def address(base_url: str, kind: Kind, model: str) -> str:
    """Where a call goes. A query in the base URL (Azure's `?api-version=…`) stays last, `{model}` is filled in.

    ValueError without a base URL, or for a model name that would leave its place in the path.
    """
    if not base_url:
        raise ValueError("the provider has no base URL")
    base, mark, query = base_url.partition("?")
    if "{model}" in base:
        if model in {"", ".", ".."}:
            raise ValueError("the model is no name of a deployment")
        base = base.replace("{model}", quote(model, safe=""))
    return f"{base.rstrip('/')}{PATHS[kind]}{mark}{query}"


def _parsed(raw: bytes) -> Json:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        page = errors.html_page(raw[:2000].decode("utf-8", "replace"))
        raise BadAnswerError(f"the provider answered with {page or 'no JSON, or JSON cut short'}") from error
    if not isinstance(body, dict):
        raise BadAnswerError("the provider answered with JSON that is no object")
    if body.get("error"):
        raise BadAnswerError(errors.complaint(body).message)
    return body


def _require_rows(kind: Kind, body: Json) -> None:
    rows = body.get(_ROWS[kind])
    if not isinstance(rows, list) or not rows:
        said = errors.parse(body).message
        reason = f": {errors.shown(said, errors.MESSAGE_LIMIT)}" if said else ""
        raise BadAnswerError(f"the provider answered without {_ROWS[kind]}{reason}")
    name, kinds = _HOLDS[kind]
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get(name), kinds):
            raise BadAnswerError(f"the provider answered with {_ROWS[kind]} without {name}")
        if row.get("error"):
            raise BadAnswerError(errors.complaint(row).message)


def _missing(kind: Kind, body: Json, model: str) -> Json:
    """What every client reads and some providers leave out."""
    if all(map(body.get, _READ[kind])):
        return {}
    wanted = {"model": body.get("model") or model} if kind not in _IDENTIFIED else identity(kind, body, model)
    wanted["object"] = body.get("object") or _OBJECTS[kind]
    return {name: value for name, value in wanted.items() if body.get(name) != value}


def _drop_empty_calls(choices: list[Json]) -> bool:
    """Take empty `tool_calls` off messages: clients branch on their presence. True when there were any."""
    found = False
    for choice in choices:
        if choice["message"].get("tool_calls") == []:
            del choice["message"]["tool_calls"]
            found = True
    return found
