"""What OpenAI's chat can say of a Messages request, for providers that are not Anthropic."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from app.gateway.inbound.results import shown
from app.gateway.wire import Json, UntranslatableError

# These only tune Anthropic's own machinery: without them the answer is the same in kind.
_TUNING: Final = frozenset({"betas", "cache_control", "context_management", "speed", "thinking", "output_config"})
# These decide what the answer is made of, or where: leaving them out in silence would be another request.
_NEEDED: Final = ("container", "mcp_servers", "inference_geo")
_PARTS: Final = frozenset({"text", "image_url", "file", "input_audio", "refusal"})
# The largest thinking budget, in tokens, that each effort stands for.
_EFFORTS: Final = ((2048, "low"), (8192, "medium"))
_LONGEST_USER: Final = 64  # OpenAI refuses a longer name of the end user


def plainly(body: Json) -> Json:
    """The chat body without what only Anthropic has."""
    for name in _NEEDED:
        if body.get(name):
            raise UntranslatableError(f"only Anthropic has {name}", name)
    plain = {name: value for name, value in body.items() if name not in _TUNING and name not in _NEEDED}
    told = map(_message, body["messages"])
    plain["messages"] = list(shown(said for said in told if said.get("content") is not None or "tool_calls" in said))
    if not plain["messages"]:
        raise UntranslatableError("messages hold nothing but thinking, which is Anthropic's", "messages")
    if tools := body.get("tools"):
        plain["tools"] = [_tool(tool) for tool in tools]
    if user := body.get("user"):
        plain["user"] = user if len(user) <= _LONGEST_USER else sha256(user.encode()).hexdigest()
    return _wished(body) | plain


def _wished(body: Json) -> Json:
    """Effort and form of the answer, in OpenAI's words."""
    config, thinking = body.get("output_config") or {}, body.get("thinking") or {}
    wished: Json = {}
    if effort := config.get("effort") or _effort(thinking):
        wished["reasoning_effort"] = effort
    if schema := (config.get("format") or {}).get("schema"):
        wished["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return wished


def _effort(thinking: Json) -> str | None:
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or not isinstance(budget, int):
        return None
    return next((effort for most, effort in _EFFORTS if budget <= most), "high")


def _message(message: Json) -> Json:
    said = {k: v for k, v in message.items() if k not in {"thinking_blocks", "cache_control", "is_error"}}
    if "tool_calls" in said:
        said["tool_calls"] = [{k: v for k, v in c.items() if k != "cache_control"} for c in said["tool_calls"]]
    parts = _parts(said.get("content"))
    failed = isinstance(parts, str) and message.get("is_error")
    return said | {"content": f"Error: {parts}" if failed else parts}


def _parts(content: Any) -> Any:
    """Content as parts every provider knows; a text when it holds nothing else."""
    if not isinstance(content, list):
        return content
    for part in content:
        if part["type"] not in _PARTS:
            raise UntranslatableError(f"only Anthropic has content of type {part['type'][:60]}", "messages")
    if all(part["type"] == "text" for part in content):
        return "\n\n".join(part["text"] for part in content)
    return [{k: v for k, v in part.items() if k != "cache_control"} for part in content]


def _tool(tool: Json) -> Json:
    if tool.get("type") != "function":
        raise UntranslatableError(f"only Anthropic has tools of type {str(tool.get('type'))[:60]}", "tools")
    return {k: v for k, v in tool.items() if k != "cache_control"}
