"""A stored call as a conversation in words: who said what, the model last. Whatever holds more than words is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

Json = dict[str, Any]
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
# The newer word for the same.
ROLES: Final = {"system": SYSTEM, "developer": SYSTEM, "user": USER, "assistant": ASSISTANT}


class Said(NamedTuple):
    """One message."""

    role: str
    text: str


class UnfitError(ValueError):
    """The call holds something that is no message in words, or was cut."""


def conversation(request: bytes, response: bytes) -> list[Said] | None:
    """The messages of a call of OpenAI's or Anthropic's form and its answer; None where they cannot be told in words.

    What the same speaker said in a row is one message.
    """
    try:
        asked, answered = orjson.loads(request), orjson.loads(response)
        said = _joined([*_asked(asked), Said(ASSISTANT, _answer(answered))])
    except (UnfitError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    fits = any(one.role == USER for one in said) and said[-1].role == ASSISTANT and all(one.text for one in said)
    return said if fits else None


def _asked(body: Json) -> Iterator[Said]:
    if body.get("tools") or body.get("functions"):
        raise UnfitError
    if system := body.get("system"):
        yield Said(SYSTEM, _text(system))
    for message in body["messages"]:
        if {name for name, value in message.items() if value} - {"role", "content", "name"}:
            raise UnfitError
        yield Said(ROLES[message["role"]], _text(message["content"]))


def _answer(body: Json) -> str:
    """What the model said to its end; an answer cut short teaches to stop there."""
    if "choices" not in body:
        if body["stop_reason"] not in {"end_turn", "stop_sequence"}:
            raise UnfitError
        return _text(body["content"])
    [choice] = body["choices"]
    message = choice["message"]
    if choice.get("finish_reason") != "stop" or message.get("tool_calls") or message.get("function_call"):
        raise UnfitError
    return _text(message["content"])


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if any(part["type"] != "text" for part in content):
        raise UnfitError
    return "\n\n".join(str(part["text"]) for part in content)


def _joined(said: list[Said]) -> list[Said]:
    joined: list[Said] = []
    for one in said:
        if joined and joined[-1].role == one.role:
            joined[-1] = Said(one.role, f"{joined[-1].text}\n\n{one.text}")
        else:
            joined.append(one)
    return joined
