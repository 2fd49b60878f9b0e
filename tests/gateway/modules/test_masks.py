"""Mask mode: the model meets invented people only, and the caller reads about their own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, events
from gateway.modules.conftest import MODEL, text_of
from gateway.modules.test_guarded_wires import HEAD, USAGE, event
from gateway.modules.test_guarded_wires import MODEL as CLAUDE
from gateway.upstream import Upstream
from support.callers import Client

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Json = dict[str, Any]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
PROMPT = (
    "Write to Ada Lovelace (ada@lovelace.org, +44 555-123-4567) about card 4111 1111 1111 1111. "
    "Ada's brother is Mr. Byron; Lovelace knows."
)
STOPPED = {"stop_reason": "end_turn", "stop_sequence": None}
REAL = ("Ada", "Lovelace", "Byron", "ada@", "555-123-4567", "4111 1111 1111 1111")


def seen(upstream: Upstream) -> str:
    """What the provider was told last."""
    return str(upstream.seen(MODEL)[-1]["body"]["messages"][-1]["content"])


@BOTH
def test_a_model_meets_nobody_real_and_its_caller_nobody_invented(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Callable[..., list[Json]], stream: bool
) -> None:
    """The same mask for the same person all through the call; the trace keeps the masks."""
    configure("maskmode")
    ask(MODEL, PROMPT)
    told = seen(upstream)
    assert not [part for part in REAL if part in told]
    masks = re.match(
        r"Write to (\w+) (\w+) \((\S+), (\S+)\) about card ([\d ]+)\. (\w+)'s .* Mr\. (\w+); (\w+) knows", told
    )
    assert masks, told
    first, last, email, phone, card, again, brother, once_more = masks.groups()
    assert (again, once_more) == (first, last)
    upstream.script(MODEL, {"text": f"Dear {first} {last}, {brother} at {email}, {phone}: {card} ({first})"})
    response = ask(MODEL, PROMPT, stream=stream)
    assert seen(upstream) == told  # the same people in every call
    assert text_of(response) == (
        "Dear Ada Lovelace, Byron at ada@lovelace.org, +44 555-123-4567: 4111 1111 1111 1111 (Ada)"
    )
    kept = json.dumps(traces(2), default=lambda held: bytes(held).decode())
    assert first in kept
    assert not [part for part in REAL if part in kept]


@BOTH
def test_what_tools_are_called_with_is_real_again(
    ask: Ask, configure: Configure, upstream: Upstream, stream: bool
) -> None:
    """And it is still JSON, whatever a name is spelt with."""
    configure("maskmode", names=['Bob "Bobby" Tables', "Bern"])
    upstream.script(MODEL, {"tools": 1})
    response = ask(MODEL, 'Ask Bob "Bobby" Tables in Bern', stream=stream)
    told = seen(upstream)
    assert "Bobby" not in told
    assert "Bern" not in told
    if not stream:
        [call] = response.json()["choices"][0]["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"city": "Bern"}


def test_accounts_have_masks_of_their_own_and_a_seed_changes_them(
    ask: Ask, configure: Configure, upstream: Upstream, client: Any
) -> None:
    """Whoever sees one account's masks learns nothing of another's."""
    told = []
    for seed in (1, 1, 2):
        configure("maskmode", seed=seed)
        ask(MODEL, PROMPT)
        told.append(seen(upstream))
    client.admin.post("/v1/chat/completions", json={"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]})
    told.append(seen(upstream))
    assert told[0] == told[1]
    assert len(set(told)) == 3


HARMLESS = (
    "Will you come? I am happy. Hi there, hello all.",
    "Order 4111 1111 1111 1112 of 2024-11-22, port 4200, version 3.11.2",
    "May I ask what Paris is like in March?",
)


def test_what_is_nobodys_name_or_number_stays(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """A prompt that is about nobody goes out as it came."""
    configure("maskmode")
    for text in HARMLESS:
        ask(MODEL, text)
        assert seen(upstream) == text


def test_a_name_that_is_a_common_word_is_masked_as_a_name_only(
    ask: Ask, configure: Configure, upstream: Upstream
) -> None:
    """Else half of a sentence would turn into names."""
    configure("maskmode", names=["Will Smith"])
    ask(MODEL, "Will Will Smith come? Smith will.")
    told = seen(upstream)
    assert told.startswith("Will ")
    assert told.endswith(" will.")
    assert "Smith" not in told
    configure("maskmode", names=["Will", "Al"])  # the operator knows better
    ask(MODEL, "Al, Will and Also")
    assert re.fullmatch(r"(\w+), (\w+) and Also", seen(upstream))
    assert not {"Al", "Will"} & {*re.findall(r"\w+", seen(upstream))}


@BOTH
def test_real_people_come_back_on_anthropics_wire(
    client: Client, configure: Configure, upstream: Upstream, stream: bool
) -> None:
    """Also in the blocks its own clients are given as they came."""
    configure("maskmode")
    asked = {"model": CLAUDE, "max_tokens": 50, "messages": [{"role": "user", "content": "Dear Zebedee, hello"}]}
    client.user.post("/v1/messages", json=asked)
    [mask] = re.findall(r"Dear (\w+)", json.dumps(upstream.seen(CLAUDE)[-1]["body"]))
    text = f"Hello {mask}!"
    whole = {**HEAD, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": USAGE}
    begun = [event("message_start", message=HEAD | {"content": [], "usage": USAGE})]
    begun.append(event("content_block_start", index=0, content_block={"type": "text", "text": ""}))
    deltas = [{"type": "text_delta", "text": part} for part in (text[:9], text[9:])]
    said = [event("content_block_delta", index=0, delta=delta) for delta in deltas]
    ended = [event("content_block_stop", index=0), event("message_delta", delta=STOPPED, usage=USAGE)]
    pieces = [*begun, *said, *ended, event("message_stop")]
    upstream.script(CLAUDE, {"pieces": pieces, "pause": 0} if stream else {"raw": json.dumps(whole)})
    answer = client.user.post("/v1/messages", json=asked | ({"stream": True} if stream else {}))
    assert answer.status_code == 200, answer.text
    assert mask not in answer.text
    assert mask[:3] not in answer.text
    told = "".join(re.findall(r'"text": ?"([^"]*)"', answer.text))
    assert told == "Hello Zebedee!"


def test_streamed_events_stay_whole(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """A mask in two pieces leaves as one name, and no piece of it before."""
    configure("maskmode")
    ask(MODEL, "Dear Zebedee, hello")
    [mask] = re.findall(r"Dear (\w+)", seen(upstream))
    upstream.script(MODEL, {"pieces": [_piece(mask[:3]), _piece(mask[3:]), _piece("!"), _end()], "pause": 0.01})
    response = ask(MODEL, "Dear Zebedee, hello", stream=True)
    said = [c["delta"].get("content") for e in events(response)[:-1] for c in e.get("choices", ()) if c.get("delta")]
    assert "".join(filter(None, said)) == "Zebedee!"
    assert mask[:3] not in "".join(filter(None, said))


def _piece(text: str) -> str:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return (
        f"data: {json.dumps(chunk | {'choices': [{'index': 0, 'delta': {'role': 'assistant', 'content': text}}]})}\n\n"
    )


def _end() -> str:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    done = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    return f"data: {json.dumps(chunk | {'choices': done})}\n\ndata: [DONE]\n\n"
