"""Anthropic fit: how calls in OpenAI's form are put to Claude: system prompts, answer length, cache hints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from app.gateway.chat_request import SYSTEM_ROLES, content_parts
from app.gateway.steps import Module, Steps
from app.gateway.wire import Json

PROVIDER: Final = "anthropic"
# Anthropic caches no beginning of a prompt that is shorter than about a thousand tokens.
LEAST_CACHED: Final = 4_096
LIMITS: Final = ("max_tokens", "max_completion_tokens")
# With these the wire leaves room for thoughts by itself.
THINKING: Final = ("thinking", "reasoning_effort")


class Anthrofit(Module):
    """Acts on what is sent to Anthropic, whichever way a call came there."""

    COUNTS = ("fitted", "limited", "cached")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """A change of the body for that provider alone."""
        orders: Mapping[str, Callable[[Json], Json]] = {"auto": dict, "merge": _merged, "first": _first}
        order = orders[settings["system_prompt_mode"]]

        def shim(body: Json) -> Json:
            if not isinstance(body.get("messages"), list):
                return body
            self.counted["fitted"] += 1
            body = order(body)
            if not any(body.get(name) for name in (*LIMITS, *THINKING)):
                self.counted["limited"] += 1
                body = {**body, "max_tokens": settings["max_tokens_default"]}
            return self._hinted(body) if settings["cache_control"] else body

        return Steps(shim=(PROVIDER, shim))

    def _hinted(self, body: Json) -> Json:
        """The body with a cache breakpoint after a long system prompt, unless its caller set one."""
        said = [(at, message) for at, message in enumerate(body["messages"]) if _is_system(message)]
        parts = [part for _, message in said for part in content_parts(message.get("content"))]
        size = sum(len(str(part.get("text", ""))) for part in parts)
        if size < LEAST_CACHED or is_marked(body) or not content_parts(said[-1][1].get("content")):
            return body
        self.counted["cached"] += 1
        at, last = said[-1]
        *others, part = content_parts(last.get("content"))
        held = {**last, "content": [*others, {**part, "cache_control": {"type": "ephemeral"}}]}
        return {**body, "messages": [*body["messages"][:at], held, *body["messages"][at + 1 :]]}


def _is_system(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in SYSTEM_ROLES


def is_marked(body: Json) -> bool:
    """Whether the caller decides what is cached: by a field, in a message, or in a tool."""
    held = [*body["messages"], *(body.get("tools") or ())]
    parts = [part for one in held if isinstance(one, dict) for part in _listed(one.get("content"))]
    return "cache_control" in body or any("cache_control" in one for one in (*held, *parts) if isinstance(one, dict))


def _listed(content: Any) -> list[Any]:
    return content if isinstance(content, list) else []


def _merged(body: Json) -> Json:
    """All system messages as one, ahead of the conversation."""
    parts = [part for m in body["messages"] if _is_system(m) for part in content_parts(m.get("content"))]
    rest = [message for message in body["messages"] if not _is_system(message)]
    return {**body, "messages": [{"role": "system", "content": parts}, *rest]} if parts else body


def _first(body: Json) -> Json:
    """The first system message as it is; later ones stay where they were said, as the user's."""
    found = False
    messages = []
    for message in body["messages"]:
        later = _is_system(message) and found
        found = found or _is_system(message)
        messages.append({**message, "role": "user"} if later else message)
    return {**body, "messages": messages}
