"""The texts of a request's body: changed one by one in a copy, wherever a caller may have written them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from app.gateway.wire import Json

Change = Callable[[str], str]
LOOSE: Final = ("prompt", "input", "suffix", "instructions")
SPOKEN: Final = ("content", "reasoning_content", "refusal")
ALL: Final[frozenset[str]] = frozenset()
# What is left of a refused request in its trace: how it was asked, not what.
KEPT: Final = frozenset({"model", "stream", "temperature", "top_p", "max_tokens", "max_completion_tokens", "n"})


def changed(body: Json, change: Change, skip: frozenset[str] = ALL) -> Json:
    """The body with every text changed, messages of the skipped roles excepted; the same object when none is."""
    found: Json = {}
    if isinstance(messages := body.get("messages"), list):
        said = [message if role_of(message) in skip else _message(message, change) for message in messages]
        found |= {"messages": said} if said != messages else {}
    for name in LOOSE:
        if (value := body.get(name)) is not None and (fresh := _value(value, change)) != value:
            found[name] = fresh
    return {**body, **found} if found else body


def texts(body: Json, skip: frozenset[str] = ALL) -> Iterator[str]:
    """Every text of the body, in order."""
    found: list[str] = []

    def take(text: str) -> str:
        found.append(text)
        return text

    changed(body, take, skip)
    yield from found


def spoken_away(body: Json) -> Json:
    """The body without anything its caller wrote in it."""
    return {name: value for name, value in body.items() if name in KEPT}


def last_text(body: Json) -> str:
    """What the caller said last; empty when nothing was said in words."""
    if isinstance(messages := body.get("messages"), list):
        for message in reversed(messages):
            if role_of(message) == "user":
                return "\n".join(texts({"messages": [message]}))
    return "\n".join(texts({name: body[name] for name in LOOSE if name in body}))


def with_system(body: Json, text: str) -> Json:
    """A chat body with a further system message, after those that lead it; one without messages is left alone."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    at = next(
        (n for n, message in enumerate(messages) if role_of(message) not in {"system", "developer"}), len(messages)
    )
    return {**body, "messages": [*messages[:at], {"role": "system", "content": text}, *messages[at:]]}


def role_of(message: Any) -> str:
    """A message's role; empty when it has none."""
    return str(message.get("role", "")) if isinstance(message, dict) else ""


def _message(message: Any, change: Change) -> Any:
    if not isinstance(message, dict):
        return message
    found = {name: _value(message[name], change) for name in SPOKEN if message.get(name)}
    if isinstance(calls := message.get("tool_calls"), list):
        found["tool_calls"] = [_call(call, change) for call in calls]
    return {**message, **found}


def _call(call: Any, change: Change) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    return {**call, "function": {**function, "arguments": change(function["arguments"])}}


def _value(value: Any, change: Change) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_value(item, change) for item in value]
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        return {**value, "text": change(value["text"])}
    return value
