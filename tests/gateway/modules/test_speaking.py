"""Modules that shape what is said: for the ear, in a language, or reduced to what was wanted; plain and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, events
from gateway.modules.conftest import MODEL, text_of
from gateway.upstream import Upstream
from support.callers import Caller

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Json = dict[str, Any]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
MARKDOWN = """# Yard

**Track four** is *free*, see [the plan](https://yard.example/plan "Plan") ![map](a.png).

- [x] Grease `turntable`
* Lock up
1. Go home

> Quoted words

| Track | Load |
|-------|-----:|
| one | 5 * 3 |

---
```python
print(1)
```
Done_for_today <b>now</b>."""
SPOKEN = """Yard

Track four is free, see the plan map.

Grease turntable
Lock up
1. Go home

Quoted words

Track, Load.
one, 5 * 3.

print(1)
Done_for_today now."""


@BOTH
def test_markup_is_not_read_aloud(ask: Ask, configure: Configure, upstream: Upstream, stream: bool) -> None:
    """Words stay, in order; signs that are no markup, too."""
    configure("voicebridge", max_chars=10_000)
    upstream.script(MODEL, {"text": MARKDOWN})
    assert text_of(ask(MODEL, stream=stream)) == SPOKEN


@BOTH
def test_nobody_is_talked_to_for_too_long(ask: Ask, configure: Configure, upstream: Upstream, stream: bool) -> None:
    """The length is that of what is heard, and it ends with a sentence."""
    configure("voicebridge", max_chars=30)
    upstream.script(MODEL, {"text": "**One two three.** *Four* five six. Seven eight nine."})
    assert text_of(ask(MODEL, stream=stream)) == "One two three. Four five six."


@BOTH
def test_what_tools_are_called_with_is_not_for_the_ear(
    ask: Ask, configure: Configure, upstream: Upstream, stream: bool
) -> None:
    """It is data: taking signs out of it, or its end, would break it."""
    configure("voicebridge", max_chars=5)
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "**x** `y`"}'}}
    whole = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}, "logprobs": None}
    upstream.script(MODEL, {"body": {"choices": [whole | {"finish_reason": "tool_calls"}]}})
    response = ask(MODEL, stream=stream)
    if stream:
        calls = [c for e in events(response)[:-1] for p in e["choices"] for c in p["delta"].get("tool_calls") or ()]
        arguments = "".join(call["function"].get("arguments", "") for call in calls)
    else:
        arguments = response.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert arguments == '{"a": "**x** `y`"}'


LANGUAGES: list[tuple[Json, str, str]] = [
    ({"language": "fr"}, "de", "French (fr)"),
    ({}, "de-CH, en;q=0.5", "German (de-CH)"),
    ({}, "en;q=0.4, pt-BR;q=0.9", "Portuguese (pt-BR)"),
    ({"languages": ["it", "en"]}, "de, en-GB;q=0.3", "English (en-GB)"),
    ({"languages": ["it"], "default": "it"}, "de", "Italian (it)"),
    ({}, "*", ""),
    ({}, "de;q=0, ;;, x-y-z, q=1", ""),
    ({}, "", ""),
    ({"default": "eu"}, "", "Basque (eu)"),
    ({}, "haw", "the language with the tag haw"),
]


def test_the_caller_chooses_the_language(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """What it prefers of what is allowed; nothing is asked for when nothing is wished."""
    for config, accepted, asked in LANGUAGES:
        configure("langbridge", **config)
        ask(MODEL, headers={"accept-language": accepted})
        first = upstream.seen(MODEL)[-1]["body"]["messages"][0]
        assert (f"Answer in {asked}," in first["content"]) is bool(asked), accepted
        assert first["role"] == ("system" if asked else "user")


TOLD = 'Sure!\n\n```json\n{"age": 7}\n```\nAnd\n\n| a | b |\n|---|---|\n| 1 | x \\| y |\n| 2 |\n\nBye.'


WANTED: list[tuple[str, Any, str]] = [
    ("json", {"age": 7}, '{"age":7}'),
    ("code", {"language": "json", "code": '{"age": 7}'}, '{"age": 7}'),
    ("table", [{"a": "1", "b": "x | y"}, {"a": "2", "b": ""}], '[{"a":"1","b":"x | y"},{"a":"2","b":""}]'),
]


@BOTH
def test_what_was_wanted_is_taken_out(ask: Ask, configure: Configure, upstream: Upstream, stream: bool) -> None:
    """Beside the answer, or in its place."""
    upstream.script(MODEL, {"text": TOLD})
    for kind, field, content in WANTED:
        configure("extractml", into="content")
        assert text_of(ask(MODEL, headers={"x-extract": kind}, stream=stream)) == content
        configure("extractml", extract=kind)
        response = ask(MODEL, stream=stream)
        assert text_of(response) == TOLD
        told = events(response)[0] if stream else response.json()
        assert told["choices"][0]["extracted"] == field
        assert "extracted" not in ask(MODEL, headers={"x-extract": "none"}, stream=stream).text


@BOTH
def test_an_answer_without_it_is_asked_for_again_or_left(
    ask: Ask, configure: Configure, upstream: Upstream, admin: Caller, stream: bool
) -> None:
    """A caller is told when there is still none."""
    configure("extractml", extract="json", into="content", required=True)
    upstream.script(MODEL, {"text": "no idea"}, {"text": 'here: [1, {"a": 2}] ok'})
    assert json.loads(text_of(ask(MODEL, stream=stream))) == [1, {"a": 2}]
    upstream.script(MODEL, {"text": "[none"})
    response = ask(MODEL, stream=stream)
    assert (text_of(response), response.headers["x-stockyard-warning"]) == ("[none", "extractml.missing")
    assert admin.get("/api/proxy/modules/extractml").json()["stats"] == {"found": 1, "again": 2, "missing": 1}
    assert ask(MODEL, headers={"x-extract": "poem"}).status_code == 400
