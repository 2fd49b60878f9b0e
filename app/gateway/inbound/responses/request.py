"""A Responses body as a chat body."""

from __future__ import annotations

from typing import Any, Final

from app.gateway.inbound.responses.items import Conversation
from app.gateway.wire import Json, UntranslatableError

# What chat says in its own words, or what only says how the answer is told; everything else is forwarded.
_SAID: Final = frozenset(
    {
        "input",
        "instructions",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "text",
        "reasoning",
        "max_output_tokens",
        "max_tool_calls",
        "store",
        "include",
        "truncation",
        "metadata",
        "stream_options",
        "previous_response_id",
        "conversation",
        "background",
        "prompt",
        "n",
        "top_logprobs",
        "context_management",
    }
)
LIKELIHOODS: Final = "message.output_text.logprobs"


def chat_of(asked: Json) -> Json:
    """The chat body; UntranslatableError, naming the parameter, where chat has no words for it."""
    body = {name: value for name, value in asked.items() if name not in _SAID and value is not None}
    body["messages"] = _messages(asked)
    return body | _tools(asked) | _form(asked) | _rest(asked)


def _messages(asked: Json) -> list[Json]:
    conversation = Conversation()
    if instructions := asked.get("instructions"):
        conversation.take({"role": "system", "content": instructions}, 0)
    given = asked["input"]
    for place, item in enumerate([{"role": "user", "content": given}] if isinstance(given, str) else given):
        conversation.take(item, place)
    messages = conversation.end()
    if not messages:
        raise UntranslatableError("input says nothing", "input")
    return messages


def _rest(asked: Json) -> Json:
    said: Json = {}
    if limit := asked.get("max_output_tokens"):
        said["max_completion_tokens"] = limit
    if effort := (asked.get("reasoning") or {}).get("effort"):
        said["reasoning_effort"] = effort
    likely = asked.get("top_logprobs")
    if likely or LIKELIHOODS in (asked.get("include") or ()):
        said["logprobs"] = True
    return said | ({"top_logprobs": likely} if likely else {})


def _form(asked: Json) -> Json:
    text = asked.get("text") or {}
    said: Json = {"verbosity": text["verbosity"]} if text.get("verbosity") else {}
    form = text.get("format") or {}
    kind = form.get("type", "text")
    if kind == "json_schema":
        held = {k: form[k] for k in ("name", "schema", "strict", "description") if form.get(k) is not None}
        said["response_format"] = {"type": kind, "json_schema": held}
    elif kind == "json_object":
        said["response_format"] = {"type": kind}
    elif kind != "text":
        raise UntranslatableError("text.format is text, json_object or json_schema", "text.format")
    return said


def _tools(asked: Json) -> Json:
    tools = [_tool(tool, place) for place, tool in enumerate(asked.get("tools") or ())]
    if not tools:
        return {}
    said: Json = {"tools": tools}
    if (choice := asked.get("tool_choice")) is not None:
        said["tool_choice"] = _choice(choice)
    if (parallel := asked.get("parallel_tool_calls")) is not None:
        said["parallel_tool_calls"] = parallel
    return said


def _tool(tool: Json, place: int) -> Json:
    if tool.get("type") != "function" or not isinstance(tool.get("name"), str):
        raise UntranslatableError("only functions with a name can be asked of any provider", f"tools[{place}]")
    held = {k: tool[k] for k in ("name", "description", "parameters", "strict") if tool.get(k) is not None}
    return {"type": "function", "function": held}


def _choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    if choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    tools = choice.get("tools")
    if choice.get("type") == "allowed_tools" and isinstance(tools, list) and all(map(_named, tools)):
        allowed = [{"type": "function", "function": {"name": tool["name"]}} for tool in tools]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode", "auto"), "tools": allowed}}
    raise UntranslatableError("tool_choice is auto, none, required, a function or allowed_tools", "tool_choice")


def _named(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "function" and isinstance(tool.get("name"), str)


def without_thinking(body: Json) -> Json:
    """The chat body without signed thinking."""
    messages = [{k: v for k, v in said.items() if k != "thinking_blocks"} for said in body["messages"]]
    return body | {"messages": messages}
