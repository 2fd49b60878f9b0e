"""However a provider cuts and mixes its deltas, the clients of other wires get all of it, one by one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.accumulate import accumulate
from app.gateway.inbound.messages import Messages
from app.gateway.inbound.responses import Responses
from app.gateway.inbound.sequence import Collected, Sequencer
from app.gateway.sse import Parser
from app.gateway.wire import Usage

Json = dict[str, Any]
words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)


@st.composite
def streams(draw: st.DrawFn) -> list[Json]:
    """Deltas of text, thinking and up to three calls, the pieces of all of them mixed."""
    lanes = [[{"content": w} for w in draw(st.lists(words, max_size=3))]]
    lanes += [[{"reasoning_content": w} for w in draw(st.lists(words, max_size=2))]]
    for index in range(draw(st.integers(0, 3))):
        whole = json.dumps(draw(st.dictionaries(words, words, max_size=2)))
        cuts = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=3)))
        parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        first = {"id": f"call_{index}", "type": "function", "function": {"name": "weather", "arguments": ""}}
        pieces = [first, *({"function": {"arguments": part}} for part in parts)]
        lanes.append([{"tool_calls": [{"index": index, **piece}]} for piece in pieces])
    mixed: list[Json] = [{"role": "assistant", "content": None}]
    while any(lanes):
        mixed.append(draw(st.sampled_from([lane for lane in lanes if lane])).pop(0))
    return mixed


def chunks(deltas: list[Json]) -> list[Json]:
    """The chunks of a stream, its end included."""
    calls = any("tool_calls" in delta for delta in deltas)
    ends = [None] * len(deltas) + ["tool_calls" if calls else "stop"]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        for delta, end in zip([*deltas, {}], ends, strict=True)
    ]


def said(deltas: list[Json], name: str) -> str:
    """All words of one kind."""
    return "".join(delta.get(name) or "" for delta in deltas)


def arguments(deltas: list[Json]) -> dict[str, str]:
    """The whole arguments of each call by its id."""
    whole: dict[int, str] = {}
    for piece in (call for delta in deltas for call in delta.get("tool_calls", ())):
        whole[piece["index"]] = whole.get(piece["index"], "") + piece["function"]["arguments"]
    return {f"call_{index}": text for index, text in whole.items()}


@given(streams())
def test_nothing_is_lost_and_no_block_stands_open_beside_another(deltas: list[Json]) -> None:
    """Each call in one piece, once."""
    collected = Collected()
    sequence = Sequencer(collected)
    for delta in deltas:
        sequence.take(delta)
    sequence.end()
    for kind, name in (("text", "content"), ("thinking", "reasoning_content")):
        assert "".join(b.text for b in collected.blocks if b.kind == kind) == said(deltas, name)
    calls = [block for block in collected.blocks if block.kind == "call"]
    assert {block.id: block.text for block in calls} == arguments(deltas)
    assert len(calls) == len(arguments(deltas))
    assert all(block.name == "weather" for block in calls)


@given(streams())
def test_anthropics_events_open_and_close_blocks_in_turn(deltas: list[Json]) -> None:
    """From `message_start` to `message_stop`, indexes from 0, deltas inside their block only."""
    frames = Messages({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}, {}, "r").frames()
    sent = frames.chunks(chunks(deltas), None) + frames.end(Usage(input=3, output=2))
    events = [(name, json.loads(data)) for name, data in Parser().feed(sent)]
    names = [name for name, _ in events]
    assert (names[0], names[-2:]) == ("message_start", ["message_delta", "message_stop"])
    opened, count = None, 0
    for name, event in events[1:-2]:
        if name == "content_block_start":
            assert (opened, event["index"]) == (None, count)
            opened, count = count, count + 1
        else:
            assert event["index"] == opened
            opened = None if name == "content_block_stop" else opened
    assert opened is None
    assert events[-2][1]["usage"]["output_tokens"] == 2


@given(streams())
def test_a_replayed_answer_reads_as_the_first_one_did(deltas: list[Json]) -> None:
    """From the cache a whole message comes as one delta: both wires say of it what they say of the plain answer."""
    whole, usage = accumulate(chunks(deltas)), Usage(input=3, output=2)
    message = whole["choices"][0]["message"]
    calls = [{"index": place, **call} for place, call in enumerate(message.get("tool_calls", ()))]
    delta = message | ({"tool_calls": calls} if calls else {})
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    for call in (Messages(asked, {}, "r"), Responses({"model": "m", "input": "x"})):
        frames, plain = call.frames(), json.loads(call.plain(whole, usage))
        sent = frames.chunks(chunks([delta]), usage) + frames.end(usage)
        events = [(name, json.loads(data)) for name, data in Parser().feed(sent)]
        if isinstance(call, Responses):
            assert events[-1][1]["response"] == plain
        else:
            kinds = [event["content_block"]["type"] for name, event in events if name == "content_block_start"]
            assert kinds == [block["type"] for block in plain["content"]]
            assert events[-2][1]["delta"]["stop_reason"] == plain["stop_reason"]
