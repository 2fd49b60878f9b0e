"""A Messages body as a chat body that keeps what only Anthropic has; `plainly` takes that off for everybody else."""

from __future__ import annotations

from typing import Any, Final

from app.gateway.chat_request import asked as reading
from app.gateway.inbound.messages.content import blocks_of, messages_of, shortest
from app.gateway.wire import Json, UntranslatableError

# What chat says in its own words; everything else is forwarded. `n` is nothing Anthropic knows, and would cost.
_SAID: Final = frozenset(
    {
        "messages",
        "system",
        "max_tokens",
        "stop_sequences",
        "tools",
        "tool_choice",
        "metadata",
        "service_tier",
        "stream",
        "stream_options",
        "n",
        "betas",
    }
)
_TIERS: Final = {"auto": "auto", "standard_only": "default"}
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


def chat_of(asked: Json, betas: list[str]) -> Json:
    """The chat body; ValueError where the request is not in Anthropic's shape."""
    with reading():
        body = {name: value for name, value in asked.items() if name not in _SAID and value is not None}
        turns = [said for message in asked["messages"] for said in messages_of(message)]
        if not turns:
            raise UntranslatableError("messages say nothing", "messages")
        body["messages"] = [*_system(asked.get("system")), *turns]
        body["max_completion_tokens"] = asked["max_tokens"]
        body |= _tools(asked) | _rest(asked)
        if betas:
            body["betas"] = betas
        return body


def _system(system: Any) -> list[Json]:
    parts = [] if not system else [part for block in blocks_of(system) if (part := _part(block))["text"]]
    return [{"role": "system", "content": shortest(parts)}] if parts else []


def _part(block: Json) -> Json:
    if block["type"] != "text" or not isinstance(block["text"], str):
        raise ValueError("system holds text only")
    return {name: block[name] for name in ("type", "text", "cache_control") if block.get(name) is not None}


def _rest(asked: Json) -> Json:
    said: Json = {}
    if asked.get("stream"):
        said["stream"] = True
    if stops := asked.get("stop_sequences"):
        said["stop"] = stops
    if user := (asked.get("metadata") or {}).get("user_id"):
        said["user"] = user
    if tier := asked.get("service_tier"):
        said["service_tier"] = _TIERS.get(tier, tier)
    return said


def _tools(asked: Json) -> Json:
    tools = [_tool(tool) for tool in asked.get("tools") or ()]
    if not tools:
        return {}
    choice = asked.get("tool_choice") or {}
    said: Json = {"tools": tools} | _choice(choice)
    return said | ({"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {})


def _tool(tool: Json) -> Json:
    """A tool the caller carries out; those Anthropic carries out itself stay as they are."""
    if tool.get("type") not in {None, "custom"}:
        return tool
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    function |= {name: tool[name] for name in ("description", "strict") if tool.get(name) is not None}
    kept = {"cache_control": tool["cache_control"]} if tool.get("cache_control") else {}
    return {"type": "function", "function": function, **kept}


def _choice(choice: Json) -> Json:
    kind = choice.get("type")
    if kind == "tool":
        return {"tool_choice": {"type": "function", "function": {"name": choice["name"]}}}
    if kind is None:
        return {}
    if kind not in _CHOICES:
        raise ValueError("tool_choice must be auto, any, tool or none")
    return {"tool_choice": _CHOICES[kind]}
