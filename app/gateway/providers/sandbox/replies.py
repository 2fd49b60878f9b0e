"""What the sandbox has to say to a request: text, JSON or tool calls, cut as the request asks."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from app.gateway.providers.sandbox.schema import SchemaError, example, valid_example
from app.gateway.usage import estimate_input, texts
from app.gateway.wire import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.gateway.wire import Json

MOST_CHOICES: Final = 128
MOST_PROMPTS: Final = 128
MOST_PARALLEL_CALLS: Final = 4
_QUOTED: Final = 400
_TOKEN: Final = re.compile(r"\s*\S{1,4}|\s+")


class RefusedError(Exception):
    """A request no model could serve, as OpenAI would refuse it: 400, and which parameter is to blame."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool; arguments are JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice of an answer; `text` is None where tools are called instead."""

    text: str | None
    calls: tuple[Call, ...] = ()
    finish: str = "stop"
    tokens: int = field(default=0)


def pieces(text: str) -> list[str]:
    """A text as the sandbox's tokens: at most four characters each, led by the space before them."""
    return _TOKEN.findall(text)


def replies(kind: Kind, body: Json) -> list[Reply]:
    """The choices for a request, in order; RefusedError when it cannot be served."""
    number = whole(body, "n", 1, MOST_CHOICES) or 1
    limits = [whole(body, name, 1, None) for name in ("max_tokens", "max_completion_tokens")]
    limit = min((value for value in limits if value is not None), default=None)
    make = _chat_reply if kind is Kind.CHAT else _text_reply
    return [_limited(_stopped(reply, body.get("stop")), limit) for reply in make(body, number)]


def whole(body: Json, name: str, low: int, high: int | None) -> int | None:
    """A field that is a whole number within bounds, None when it is absent or null; RefusedError otherwise."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON Schema counts 5.0 among the integers
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        raise RefusedError(f"'{name}' is out of range", name)
    return value


def _chat_reply(body: Json, number: int) -> Iterator[Reply]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise RefusedError("'messages' must be a list of messages, and not empty", "messages")
    tools = _tools_to_call(body, messages[-1])
    for index in range(number):
        if tools:
            calls = tuple(_call(tool, body, f"{index}.{place}") for place, tool in enumerate(tools))
            yield Reply(None, calls, "tool_calls")
        else:
            yield Reply(_formatted(body) or _spoken(body, messages, index, number))


def _text_reply(body: Json, number: int) -> Iterator[Reply]:
    """Legacy completions: `n` choices for each prompt, after the prompt itself where `echo` asks for it."""
    prompt = body.get("prompt", "")
    many = isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], str | list)
    prompts = prompt if many else [prompt]
    if len(prompts) > MOST_PROMPTS or not all(isinstance(one, str | list) for one in prompts):
        raise RefusedError(f"'prompt' must be texts or token ids, at most {MOST_PROMPTS}", "prompt")
    for one in prompts:
        asked = one if isinstance(one, str) else " ".join(map(str, one))
        for index in range(number):
            text = f"{_introduction(body, 'a prompt')}: {_quoted(asked)}{_numbered(index, number)}"
            yield Reply(asked + text if body.get("echo") else text)


def _spoken(body: Json, messages: list[Json], index: int, number: int) -> str:
    last = messages[-1]
    what = "message" if len(messages) == 1 else "messages"
    source = "the result of a tool" if last.get("role") == "tool" else f"the last from {last.get('role') or 'nobody'}"
    said = _quoted(" ".join(texts(last.get("content"))))
    return f"{_introduction(body, f'{len(messages)} {what}')}, {source}: {said}{_numbered(index, number)}"


def _introduction(body: Json, what: str) -> str:
    return f"This is the sandbox, no provider was called. Model {body.get('model')} received {what}"


def _quoted(text: str) -> str:
    return f'"{text if len(text) <= _QUOTED else text[:_QUOTED] + "…"}"'


def _numbered(index: int, number: int) -> str:
    return f" (choice {index + 1} of {number})" if number > 1 else ""


def _formatted(body: Json) -> str | None:
    """The JSON a `response_format` asks for; None when it asks for text."""
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        received = {"sandbox": True, "model": body.get("model"), "messages": len(body["messages"])}
        return orjson.dumps(received).decode()
    if kind != "json_schema":
        return None
    described = wanted.get("json_schema") if isinstance(wanted, dict) else None
    schema = described.get("schema", {"type": "object"}) if isinstance(described, dict) else None
    try:
        return orjson.dumps(valid_example(schema)).decode()
    except (SchemaError, TypeError) as error:
        raise RefusedError(f"Invalid schema for response_format: {error}", "response_format") from error


def _tools_to_call(body: Json, last: Json) -> list[Json]:
    """The functions to call: the one named, else all offered up to a bound, and none once a result has come back."""
    choice, offered = body.get("tool_choice"), body.get("tools") or []
    tools = [tool["function"] for tool in offered if isinstance(tool, dict) and isinstance(tool.get("function"), dict)]
    if not tools or choice == "none":
        return []
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        named = [tool for tool in tools if tool.get("name") == choice["function"].get("name")]
        if not named:
            raise RefusedError("'tool_choice' names a function that is not among the tools", "tool_choice")
        return named[:1]
    if last.get("role") == "tool" and choice != "required":
        return []
    return tools[: 1 if body.get("parallel_tool_calls") is False else MOST_PARALLEL_CALLS]


def _call(tool: Json, body: Json, place: str) -> Call:
    """A call with arguments made from the tool's schema, or with none where no example can be made."""
    try:
        arguments = example(tool.get("parameters") or {"type": "object", "properties": {}})
        written = orjson.dumps(arguments).decode()
    except (SchemaError, TypeError):
        written = "{}"
    name = str(tool.get("name"))
    return Call(f"call_{fingerprint([place, name, written, body.get('messages')])}", name, written)


def fingerprint(value: Any) -> str:
    """A short name for a JSON value, the same each time."""
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()


def _stopped(reply: Reply, stop: Any) -> Reply:
    """The reply up to the first stop sequence in its text, which is left out."""
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    if reply.text is None:
        return reply
    text = reply.text
    ends = [text.find(mark) for mark in stops if isinstance(mark, str) and mark]
    found = [end for end in ends if end >= 0]
    return replace(reply, text=text[: min(found)]) if found else reply


def _limited(reply: Reply, limit: int | None) -> Reply:
    """The reply within its token limit, its tokens counted; what is cut finishes with `length`."""
    if reply.text is not None:
        said = pieces(reply.text)
        kept = said[:limit]
        return replace(reply, text="".join(kept), tokens=len(kept), finish="stop" if kept == said else "length")
    calls, spent = [], 0
    for call in reply.calls:
        spent += len(pieces(call.name))
        said = pieces(call.arguments)
        kept = said if limit is None else said[: max(limit - spent, 0)]
        if limit is None or spent <= limit:
            calls.append(replace(call, arguments="".join(kept)))
        if kept != said:
            return replace(reply, calls=tuple(calls), tokens=min(spent + len(kept), limit or 0), finish="length")
        spent += len(kept)
    return replace(reply, calls=tuple(calls), tokens=spent)


def tokens_in(body: Json) -> int:
    """How many tokens the sandbox says a request has: never none."""
    return max(estimate_input(body), 1)
