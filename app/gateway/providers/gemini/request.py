"""OpenAI bodies as Gemini's generateContent and batchEmbedContents bodies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from app.gateway.chat_request import functions_of, json_schema, refuse, stop_list, system_text, token_limit, tool_choice
from app.gateway.providers.gemini.contents import contents

if TYPE_CHECKING:
    from app.gateway.wire import Json

_CONFIG = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "top_logprobs": "logprobs",
}
# Fields of Gemini's own body, sent on untouched for callers who know them.
_FORWARDED = {
    "safety_settings": "safetySettings",
    "safetySettings": "safetySettings",
    "cached_content": "cachedContent",
    "cachedContent": "cachedContent",
}
# Whatever shapes the answer is refused; what merely tunes or files it (user, store, prediction …) is left out.
_UNABLE = {
    "logit_bias": "it does not bias tokens",
    "audio": "this wire carries text answers",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "web_search_options": "pass its googleSearch tool in tools",
}
# Google's own table for OpenAI callers (ai.google.dev/gemini-api/docs/openai).
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_BUDGETED = re.compile(r"gemini-[12]\b")
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def generate_body(body: Json, model: str) -> Json:
    """The generateContent body; ValueError, in the caller's words, when Gemini cannot do what is asked."""
    refuse(body, _UNABLE, "gemini")
    if set(body.get("modalities") or ["text"]) != {"text"}:
        raise ValueError("this gemini wire carries text answers only")
    out: Json = {"contents": contents(body, model)}
    system = system_text(body)
    if system:
        out["systemInstruction"] = {"parts": [{"text": system}]}
    out |= {theirs: body[ours] for ours, theirs in _FORWARDED.items() if body.get(ours)}
    out |= _tools(body)
    config = _config(body, model)
    return out | ({"generationConfig": config} if config else {})


def _config(body: Json, model: str) -> Json:
    config = {theirs: body[ours] for ours, theirs in _CONFIG.items() if body.get(ours) is not None}
    limit, stop = token_limit(body), stop_list(body)
    if limit is not None:
        config["maxOutputTokens"] = limit
    if stop:
        config["stopSequences"] = stop
    if body.get("logprobs"):
        config["responseLogprobs"] = True
    return config | _format(body) | _thinking(body.get("reasoning_effort"), model)


def _format(body: Json) -> Json:
    schema = json_schema(body)
    if schema is not None:
        return {"responseMimeType": "application/json", "responseJsonSchema": _schema(schema)}
    if (body.get("response_format") or {}).get("type") == "json_object":
        return {"responseMimeType": "application/json"}
    return {}


def _schema(schema: Json) -> Json:
    # The JSON Schema fields of the API take the document as it is; only the dialect's name is refused.
    return {name: value for name, value in schema.items() if name != "$schema"}


def _thinking(effort: Any, model: str) -> Json:
    """Gemini 1 and 2 think within a budget of tokens, later models to a level; the highest level is `high`."""
    if effort is None:
        return {}
    if effort not in _BUDGETS:
        raise ValueError(f"reasoning_effort must be one of {', '.join(_BUDGETS)}")
    if _BUDGETED.match(model):
        return {"thinkingConfig": {"thinkingBudget": _BUDGETS[effort], "includeThoughts": effort != "none"}}
    if effort == "none":
        raise ValueError("this gemini model always reasons: the least reasoning_effort is minimal")
    return {"thinkingConfig": {"thinkingLevel": _LEVELS[effort], "includeThoughts": True}}


def _tools(body: Json) -> Json:
    tools = body.get("tools") or []
    if not tools:
        return {}
    if body.get("parallel_tool_calls") is False:
        raise ValueError("gemini cannot be held to one tool call at a time: parallel_tool_calls must not be false")
    declared = [_declaration(function) for _, function in functions_of(body)]
    native = [tool for tool in tools if tool.get("type") != "function"]
    if any("type" in tool for tool in native):
        raise ValueError("gemini takes function tools and its own, such as googleSearch")
    out: Json = {"tools": [*([{"functionDeclarations": declared}] if declared else []), *native]}
    config = _calling(body)
    return out | ({"toolConfig": {"functionCallingConfig": config}} if config else {})


def _declaration(function: Json) -> Json:
    out: Json = {"name": function["name"]}
    if function.get("description"):
        out["description"] = function["description"]
    parameters = function.get("parameters") or {}
    # Gemini refuses an object schema without properties; a function without parameters declares none.
    return out | ({"parametersJsonSchema": _schema(parameters)} if parameters.get("properties") else {})


def _calling(body: Json) -> Json:
    choice = tool_choice(body)
    if choice is None:
        return {}
    if not choice.names:
        return {"mode": _MODES[choice.mode]}
    # VALIDATED is Gemini's "text or one of these", ANY its "one of these".
    return {"mode": "ANY" if choice.mode == "required" else "VALIDATED", "allowedFunctionNames": list(choice.names)}


def embed_body(body: Json, model: str) -> Json:
    """The batchEmbedContents body: one request per input text, `dimensions` as outputDimensionality."""
    texts = [body["input"]] if isinstance(body.get("input"), str) else body.get("input")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("input must be text for gemini, not tokens")
    size = {"outputDimensionality": body["dimensions"]} if body.get("dimensions") else {}
    return {
        "requests": [{"model": f"models/{model}", "content": {"parts": [{"text": text}]}, **size} for text in texts]
    }
