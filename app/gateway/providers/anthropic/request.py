"""An OpenAI chat body as an Anthropic Messages body."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.gateway.chat_request import json_schema, refuse, stop_list, token_limit, tool_choice
from app.gateway.providers.anthropic.blocks import system, turns

if TYPE_CHECKING:
    from app.gateway.chat_request import Choice
    from app.gateway.wire import Json

DEFAULT_MAX_TOKENS = 4096  # Anthropic requires a limit; OpenAI callers often give none.
MIN_BUDGET = 1024  # Anthropic's smallest thinking budget.

# Fields of Anthropic's own body, sent on untouched for callers who know them.
_FORWARDED = (
    "top_p",
    "top_k",
    "thinking",
    "output_config",
    "container",
    "context_management",
    "mcp_servers",
    "inference_geo",
    "cache_control",
    "speed",
)
# Whatever shapes the answer is refused; what merely tunes or files it (seed, store, prediction …) is left out.
_UNABLE = {
    "logprobs": "it reports no token probabilities",
    "top_logprobs": "it reports no token probabilities",
    "logit_bias": "it does not bias tokens",
    "frequency_penalty": "it has no penalties",
    "presence_penalty": "it has no penalties",
    "audio": "it does not speak",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "web_search_options": "pass its web_search tool in tools",
}
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_EFFORT = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32000}
# Models that think within a given budget; later ones decide for themselves and take an effort instead.
_BUDGETED = re.compile(r"claude-(3-|opus-4(-[015])?(-\d{8})?$|sonnet-4(-[05])?(-\d{8})?$|haiku-4-5)")


def messages_body(body: Json, model: str) -> Json:
    """The Messages body; ValueError, in the caller's words, when Anthropic cannot do what is asked.

    A temperature above 1 is refused rather than lowered in silence: Anthropic's range is 0 to 1.
    """
    refuse(body, _UNABLE, "anthropic")
    _refuse_many(body)
    out: Json = {"model": model, "max_tokens": token_limit(body) or DEFAULT_MAX_TOKENS, "messages": turns(body)}
    out |= {name: body[name] for name in _FORWARDED if body.get(name) is not None}
    out |= _said(
        system=system(body),
        temperature=_temperature(body),
        stop_sequences=stop_list(body),
        metadata=_metadata(body),
        service_tier=_tier(body),
    )
    out |= _format(body, out)
    out |= _thinking(body, out)
    out |= _tools(body)
    if body.get("stream"):
        out["stream"] = True
    return out


def _said(**fields: object) -> Json:
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [], {})}


def _refuse_many(body: Json) -> None:
    if (body.get("n") or 1) > 1:
        raise ValueError("anthropic answers with one choice: n must be 1")
    if set(body.get("modalities") or ["text"]) != {"text"}:
        raise ValueError("anthropic answers with text only")


def _temperature(body: Json) -> float | None:
    temperature: float | None = body.get("temperature")
    if temperature is not None and not 0 <= temperature <= 1:
        raise ValueError("anthropic takes a temperature between 0 and 1")
    return temperature


def _metadata(body: Json) -> Json:
    user = body.get("user") or body.get("safety_identifier") or (body.get("metadata") or {}).get("user_id")
    return {"user_id": user} if user else {}


def _tier(body: Json) -> str | None:
    tier = body.get("service_tier")
    if tier is not None and tier not in _TIERS:
        raise ValueError("anthropic's service tiers are auto and standard_only")
    return _TIERS[tier] if tier else None


def _format(body: Json, out: Json) -> Json:
    schema = json_schema(body)
    if schema is not None:
        return {"output_config": {**out.get("output_config", {}), "format": {"type": "json_schema", "schema": schema}}}
    if (body.get("response_format") or {}).get("type", "text") != "text":
        raise ValueError("anthropic answers in JSON only by a schema: use response_format json_schema")
    return {}


def _thinking(body: Json, out: Json) -> Json:
    effort = body.get("reasoning_effort")
    if "thinking" in out:
        return _room(body, out["thinking"].get("budget_tokens"))
    if effort is None:
        return {}
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if effort not in _EFFORT:
        raise ValueError(f"reasoning_effort must be none, {', '.join(_EFFORT)}")
    if not _BUDGETED.search(out["model"]):
        config = {**out.get("output_config", {}), "effort": _EFFORT[effort]}
        return {"thinking": {"type": "adaptive"}, "output_config": config}
    return {} if _mid_turn(out["messages"]) else _budget(body, _BUDGETS[effort])


def _room(body: Json, budget: int | None) -> Json:
    """Room for the answer beside a budget the caller set, unless he set the limit too."""
    return {"max_tokens": budget + DEFAULT_MAX_TOKENS} if budget and token_limit(body) is None else {}


def _mid_turn(messages: list[Json]) -> bool:
    """Whether tools are being answered whose calls came back without their thinking.

    Within a budget Anthropic refuses to think on from there, and OpenAI's clients keep no thinking.
    """
    if messages[-1]["content"][0]["type"] != "tool_result" or len(messages) == 1:
        return False
    return messages[-2]["content"][0]["type"] not in {"thinking", "redacted_thinking"}


def _budget(body: Json, budget: int) -> Json:
    limit = token_limit(body)
    if limit is None:
        return {"thinking": {"type": "enabled", "budget_tokens": budget}, "max_tokens": budget + DEFAULT_MAX_TOKENS}
    if limit <= MIN_BUDGET:
        raise ValueError(f"anthropic reasons within max_tokens: it must be above {MIN_BUDGET}")
    # Thinking counts against the caller's limit, as reasoning does for OpenAI; half of it is left for the answer.
    return {"thinking": {"type": "enabled", "budget_tokens": max(MIN_BUDGET, min(budget, limit // 2))}}


def _tools(body: Json) -> Json:
    tools = [_tool(tool) for tool in body.get("tools") or []]
    if not tools:
        return {}
    choice = tool_choice(body)
    if choice and len(choice.names) > 1:
        tools = [tool for tool in tools if tool["name"] in choice.names]
    return {"tools": tools} | _said(tool_choice=_choice(choice, one_at_a_time=body.get("parallel_tool_calls") is False))


def _tool(tool: Json) -> Json:
    if tool.get("type") == "custom" and "custom" in tool:
        raise ValueError("anthropic takes function tools, not custom ones")
    if tool.get("type") != "function":
        return tool
    function = tool["function"]
    out: Json = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    out |= _said(description=function.get("description"), cache_control=tool.get("cache_control"))
    return out | ({"strict": True} if function.get("strict") else {})


def _choice(choice: Choice | None, *, one_at_a_time: bool) -> Json:
    if choice is None and not one_at_a_time:
        return {}
    if choice and choice.mode == "none":
        return {"type": "none"}
    out: Json = {"type": "any" if choice and choice.mode == "required" else "auto"}
    if choice and choice.mode == "required" and len(choice.names) == 1:
        out = {"type": "tool", "name": choice.names[0]}
    return out | ({"disable_parallel_tool_use": True} if one_at_a_time else {})
