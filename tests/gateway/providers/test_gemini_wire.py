"""The Gemini wire where its fixtures do not reach: refusals before sending, odd requests, odd streams."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.accumulate import accumulate
from app.gateway.providers.gemini import PROVIDER
from app.gateway.wire import BadAnswerError, Kind, Outgoing, Target, Usage

WIRE = PROVIDER.wire
KEY = "AIzaSyNeverShownAnywhere"
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("look", "listen")]


def request(model: str = "gemini-2.5-flash", kind: Kind = Kind.CHAT, **body: Any) -> Outgoing:
    """The request for a body; a lone user message unless it says otherwise."""
    body = {"messages": [{"role": "user", "content": "hi"}]} | body
    return WIRE.outgoing(kind, body, Target(PROVIDER, "https://gemini.test/", model, KEY))


def sent(model: str = "gemini-2.5-flash", **body: Any) -> dict[str, Any]:
    """The body that goes out."""
    return orjson.loads(request(model, **body).body)


def answer(*candidates: dict[str, Any], **rest: Any) -> bytes:
    """A response with these candidates."""
    return orjson.dumps({"candidates": candidates, "responseId": "r", **rest})


def frames(*said: dict[str, Any]) -> bytes:
    """A stream of these frames."""
    return b"".join(b"data: " + orjson.dumps(frame) + b"\n\n" for frame in said)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"modalities": ["audio"]}, "text answers only"),
        ({"tools": TOOLS, "parallel_tool_calls": False}, "one tool call at a time"),
        ({"tools": [{"type": "web_search"}]}, "function tools and its own"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "needs a schema"),
        ({"messages": [{"role": "system", "content": "only"}]}, "not a system message"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": ""}]}, "made earlier"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "video"),
        ({"messages": "hi"}, "must be a list"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}, "OpenAI's shape"),
    ],
)
def test_what_gemini_cannot_do_is_refused_before_sending(body: dict[str, Any], reason: str) -> None:
    """A field dropped in silence gives an answer to another question than the one asked."""
    with pytest.raises(ValueError, match=reason):
        request(**body)


def test_the_key_is_in_its_header_and_never_in_the_url() -> None:
    """Google's own examples put it in the query, where every proxy logs it."""
    for made in (request(), request(stream=True), request(kind=Kind.EMBEDDINGS, input="x")):
        assert made.headers["x-goog-api-key"] == KEY
        assert KEY not in made.url
        assert KEY not in repr(made)


def test_a_model_name_stays_in_its_place_in_the_url() -> None:
    """A caller's model name must not choose another method or host."""
    assert request("../../v1/files?x=").url.startswith("https://gemini.test/v1beta/models/..%2F..%2Fv1%2Ffiles%3Fx%3D:")
    assert request("models/gemini-2.5-pro").url == "https://gemini.test/v1beta/models/gemini-2.5-pro:generateContent"


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (None, None),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "look"}}, {"mode": "ANY", "allowedFunctionNames": ["look"]}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOLS[1]]}},
            {"mode": "VALIDATED", "allowedFunctionNames": ["listen"]},
        ),
    ],
)
def test_a_tool_choice_keeps_its_meaning(choice: Any, wanted: Any) -> None:
    """An agent that forces or forbids a tool relies on it."""
    made = sent(tools=TOOLS, tool_choice=choice)
    assert made.get("toolConfig", {}).get("functionCallingConfig") == wanted


@pytest.mark.parametrize(
    ("model", "effort", "wanted"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-3-pro-preview", "low", {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-3.5-flash", "xhigh", {"thinkingLevel": "high", "includeThoughts": True}),
    ],
)
def test_effort_becomes_what_the_model_understands(model: str, effort: str, wanted: dict[str, Any]) -> None:
    """Gemini 2 takes a budget, Gemini 3 a level; each refuses the other."""
    assert sent(model, reasoning_effort=effort)["generationConfig"]["thinkingConfig"] == wanted


def test_a_model_that_always_reasons_is_not_told_to_stop() -> None:
    """Gemini 3 cannot be silenced; pretending so would bill reasoning the caller forbade."""
    with pytest.raises(ValueError, match="always reasons"):
        request("gemini-3-pro-preview", reasoning_effort="none")


def loop(**call: Any) -> list[dict[str, Any]]:
    """A conversation in the middle of a tool call."""
    made = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}, **call}
    return [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "[1, 2]"}]},
    ]


def test_thought_signatures_go_back_with_their_calls() -> None:
    """Gemini 3 refuses a history whose calls lost them; calls of other models get Google's documented stand-in."""
    signed = loop(extra_content={"google": {"thought_signature": "sig"}})
    assert sent("gemini-3-pro", messages=signed)["contents"][1]["parts"][0]["thoughtSignature"] == "sig"
    bare = sent("gemini-3-pro", messages=loop())["contents"][1]["parts"][0]
    assert bare["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in sent("gemini-2.5-flash", messages=loop())["contents"][1]["parts"][0]


def test_a_tool_result_that_is_no_object_is_put_into_one() -> None:
    """Gemini refuses lists and bare text as results."""
    part = sent(messages=loop())["contents"][2]["parts"][0]["functionResponse"]
    assert part == {"id": "c1", "name": "look", "response": {"result": [1, 2]}}


@given(names=st.lists(st.sampled_from(["look", "listen"]), min_size=1, max_size=6))
def test_every_call_of_an_answer_has_an_id_of_its_own(names: list[str]) -> None:
    """Two calls under one id, and a client answers the wrong one; a stream must give the very same ids."""
    parts = [{"functionCall": {"name": name, "args": {}}} for name in names]
    raw = answer({"content": {"parts": parts}, "finishReason": "STOP"})
    whole = WIRE.answer(Kind.CHAT, raw, "gemini").body["choices"]
    ids = [call["id"] for call in whole[0]["message"]["tool_calls"]]
    assert len(set(ids)) == len(names)
    single = [{"candidates": [{"content": {"parts": [part]}}], "responseId": "r"} for part in parts]
    decoder = WIRE.decoder(Kind.CHAT, "gemini")
    last = {"candidates": [{"finishReason": "STOP"}], "responseId": "r"}
    assert accumulate([*decoder.feed(frames(*single, last)), *decoder.end()])["choices"] == whole


def test_ids_of_two_answers_never_meet() -> None:
    """A conversation holds the calls of many answers."""
    call = {"content": {"parts": [{"functionCall": {"name": "look"}}]}, "finishReason": "STOP"}
    bodies = [WIRE.answer(Kind.CHAT, orjson.dumps({"candidates": [call]}), "gemini").body for _ in range(2)]
    assert len({body["choices"][0]["message"]["tool_calls"][0]["id"] for body in bodies}) == 2


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
def test_a_model_that_broke_down_gave_no_answer(reason: str) -> None:
    """An empty success would end an agent's run; another attempt usually works."""
    broken = {"content": {"parts": []}, "finishReason": reason}
    with pytest.raises(BadAnswerError, match=reason):
        WIRE.answer(Kind.CHAT, answer(broken), "gemini")
    decoder = WIRE.decoder(Kind.CHAT, "gemini")
    list(decoder.feed(frames({"candidates": [broken]})))
    with pytest.raises(BadAnswerError, match=reason):
        list(decoder.end())


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"])
def test_a_withheld_answer_says_so(reason: str) -> None:
    """Clients tell a filtered answer from a finished one by its finish reason."""
    body = WIRE.answer(Kind.CHAT, answer({"finishReason": reason}), "gemini").body
    assert body["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("frame", [{"candidates": 5}, {"candidates": [{"content": {"parts": [7]}}]}, [], 5])
def test_a_frame_out_of_joint_is_no_answer(frame: Any) -> None:
    """Whatever the provider sends, the caller gets an error the gateway knows, never a crash."""
    decoder = WIRE.decoder(Kind.CHAT, "gemini")
    with pytest.raises(BadAnswerError):
        list(decoder.feed(frames(frame)))


@given(raw=st.binary(max_size=80) | st.from_regex(rb'\{"candidates":\[.*\]\}', fullmatch=True))
def test_no_body_crashes_the_reader(raw: bytes) -> None:
    """Only BadAnswerError leads to a retry or another provider."""
    for kind in Kind:
        try:
            WIRE.answer(kind, raw, "gemini")
        except BadAnswerError:
            continue
        assert "candidates" in orjson.loads(raw)


def test_the_callers_body_is_left_as_it_was() -> None:
    """Failover sends the same body to the next provider."""
    body = {"messages": [*loop(), {"role": "user", "content": "b"}], "tools": TOOLS}
    before = json.dumps(body)
    request(**body)
    assert json.dumps(body) == before


def test_embeddings_of_tokens_are_refused() -> None:
    """Gemini counts in tokens of its own; another model's would embed other words."""
    with pytest.raises(ValueError, match="not tokens"):
        request(kind=Kind.EMBEDDINGS, input=[[1, 2]])


def test_embeddings_without_counts_are_marked_as_such() -> None:
    """Older models report none; the gateway estimates from what was asked."""
    raw = orjson.dumps({"embeddings": [{"values": [0.5]}]})
    assert WIRE.answer(Kind.EMBEDDINGS, raw, "gemini").usage == Usage(reported=False)
