"""Model calls: every one takes the gateway's lane."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any

from app.gateway.failures import untranslatable
from app.gateway.inbound.messages import Messages
from app.gateway.inbound.presentation import Inbound
from app.gateway.inbound.responses import Responses
from app.gateway.wire import Kind
from app.runtime import runtime
from app.services import model_list
from app.wire.call import Call
from app.wire.replies import Reply, json_reply


async def create_chat_completion(call: Call, **_: Any) -> Reply:
    """Ask a model to continue a conversation."""
    return await _lane(Kind.CHAT, call)


async def create_completion(call: Call, **_: Any) -> Reply:
    """Ask a model to continue a text, or a conversation when there are messages."""
    return await _lane(Kind.CHAT if "messages" in call.body else Kind.COMPLETIONS, call)


async def create_message(call: Call, **_: Any) -> Reply:
    """Ask a model to continue a conversation, on Anthropic's wire."""
    with _said_in_chat():
        inbound = Messages(call.body, call.headers, call.request_id)
    return await _lane(Kind.CHAT, call, inbound)


async def create_response(call: Call, **_: Any) -> Reply:
    """Ask a model for a response, on OpenAI's newer wire; nothing is kept of it."""
    with _said_in_chat():
        inbound = Responses(call.body)
    return await _lane(Kind.CHAT, call, inbound)


async def create_embedding(call: Call, **_: Any) -> Reply:
    """Turn texts into vectors."""
    return await _lane(Kind.EMBEDDINGS, call)


async def list_models(call: Call, x_project: str = "default") -> Reply:
    """List the models that can be asked for."""
    return json_reply({"object": "list", "data": await model_list.shown(call.principal, x_project)})


async def get_model(call: Call, model: str, x_project: str = "default") -> Reply:
    """Show one model."""
    return json_reply(await model_list.one(call.principal, x_project, model))


def _lane(kind: Kind, call: Call, inbound: Inbound | None = None) -> Awaitable[Reply]:
    answering: Awaitable[Reply] = runtime().gateway.handle(kind, call, inbound)
    return answering


@contextmanager
def _said_in_chat() -> Iterator[None]:
    """What a schema admits and chat has no words for is refused before anybody is asked."""
    try:
        yield
    except ValueError as error:
        raise untranslatable(error) from error
