"""The decoder mends what OpenAI's imitators get wrong, and never lets a broken stream end silently."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.gateway.providers.openai.stream import StreamDecoder
from app.gateway.wire import BadAnswerError, Kind, Usage

DONE = b"data: [DONE]\n\n"


def frame(**fields: Any) -> bytes:
    """One event of a stream."""
    return b"data: %b\n\n" % orjson.dumps(fields)


def choice(delta: Any, finish: str | None = None, **fields: Any) -> bytes:
    """One event with one choice, as OpenAI sends it unless fields say otherwise."""
    head = {"id": "c1", "created": 5, "model": "m1"}
    return frame(**head, choices=[{"index": 0, "delta": delta, "finish_reason": finish}], **fields)


def decoded(stream: bytes, kind: Kind = Kind.CHAT) -> list[dict[str, Any]]:
    """Every chunk of a stream."""
    decoder = StreamDecoder(kind, "asked")
    return [*decoder.feed(stream), *decoder.end()]


def deltas(stream: bytes) -> list[dict[str, Any]]:
    """The deltas of a stream of one choice."""
    return [chunk["choices"][0]["delta"] for chunk in decoded(stream)]


def test_all_chunks_carry_the_first_ones_name() -> None:
    """Clients group chunks by id; Azure's first frame has empty ones, others change theirs."""
    empty = frame(id="", created=0, model="", choices=[], prompt_filter_results=[])
    other = frame(id="c2", created=6, model="m2", choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    chunks = decoded(empty + choice({"content": "a"}) + other + DONE)
    assert [(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks] == [("c1", 5, "m1")] * 2
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_the_role_comes_first_and_once() -> None:
    """Some repeat it on every delta, some never send it, some send null."""
    repeated = choice({"role": "assistant", "content": "a"}) * 2 + choice({}, "stop") + DONE
    assert deltas(repeated) == [{"role": "assistant", "content": "a"}, {"content": "a"}, {}]
    assert deltas(choice({"role": None, "content": "a"}, "stop") + DONE) == [{"role": "assistant", "content": "a"}]


def test_a_choice_finishes_exactly_once() -> None:
    """A second finish reason makes clients close twice; an empty one is none."""
    stream = choice({"content": "a"}, "") + choice({}, "stop") + choice({"content": ""}, "stop") + DONE
    assert [chunk["choices"][0]["finish_reason"] for chunk in decoded(stream)] == [None, "stop"]


def test_done_without_a_finish_reason_is_finished_for_the_provider() -> None:
    """Clients wait for a finish reason; the provider said it was done."""
    call = {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": "{}"}}]}
    assert decoded(choice({"content": "a"}) + DONE)[-1]["choices"][0]["finish_reason"] == "stop"
    assert decoded(choice(call) + DONE)[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("calls", [[], None])
def test_empty_lists_of_calls_are_dropped(calls: Any) -> None:
    """Clients branch on the field's presence and lose the text beside it."""
    assert "tool_calls" not in deltas(choice({"content": "a", "tool_calls": calls}, "stop") + DONE)[0]


def test_calls_get_an_index_each() -> None:
    """Some leave the index out, some count every parallel call as 0."""
    for index in ({}, {"index": 0}):
        pieces = [{**index, "id": name, "function": {"name": name, "arguments": "{}"}} for name in ("a", "b")]
        stream = b"".join(choice({"tool_calls": [piece]}) for piece in pieces) + choice({}, "tool_calls")
        found = [call for delta in deltas(stream) for call in delta.get("tool_calls", [])]
        assert [(call["index"], call["id"], call["type"]) for call in found] == [
            (0, "a", "function"),
            (1, "b", "function"),
        ]


def test_pieces_without_index_or_id_belong_to_the_last_call() -> None:
    """Arguments must not start a call of their own."""
    first = choice({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": ""}}]})
    more = choice({"tool_calls": [{"function": {"arguments": "{}"}}]})
    calls = [delta["tool_calls"][0]["index"] for delta in deltas(first + more + choice({}, "stop"))[:2]]
    assert calls == [0, 0]


@pytest.mark.parametrize(
    "tail",
    [
        frame(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 1}),
        frame(usage={"prompt_tokens": 3, "completion_tokens": 1}),
        choice({}, x_groq={"usage": {"prompt_tokens": 3, "completion_tokens": 1}}),
        choice({}, usage={"prompt_tokens": 3, "completion_tokens": 1}),
    ],
    ids=["empty choices", "no choices", "groq", "on a chunk"],
)
def test_usage_is_read_wherever_it_comes_and_shown_nowhere(tail: bytes) -> None:
    """Usage missed is a call not charged."""
    decoder = StreamDecoder(Kind.CHAT, "m")
    chunks = [*decoder.feed(choice({"content": "a"}, "stop", usage=None) + tail + DONE), *decoder.end()]
    assert decoder.usage == Usage(input=3, output=1)
    assert not any("usage" in chunk or "x_groq" in chunk for chunk in chunks)


def test_usage_is_unknown_until_reported() -> None:
    """None tells the lane to estimate."""
    decoder = StreamDecoder(Kind.CHAT, "m")
    assert list(decoder.feed(choice({"content": "a"}, "stop"))) != []
    assert decoder.usage is None


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (frame(error={"message": "overloaded sk-A1b2C3d4E5f6"}), "overloaded [redacted]"),
        (frame(error="plain"), "plain"),
        (b'event: error\ndata: {"message": "named"}\n\n', "named"),
        (frame(object="error", message="vllm"), "vllm"),
        (frame(detail="fastapi"), "fastapi"),
        (choice({}, "error", error={"message": "openrouter"}), "openrouter"),
        (choice({}, x_groq={"error": "groq"}), "groq"),
        (frame(choices=[{"index": 0, "delta": {}, "error": {"message": "in the choice"}}]), "in the choice"),
        (b"data: oops\n\n", "no JSON: oops"),
        (b"data: 7\n\n", "no object"),
        (frame(choices=[7]), "no object"),
        (choice({"tool_calls": [7]}), "no object"),
        (b"", "cut before its end"),
        (b'data: {"choi', "no JSON"),
    ],
)
def test_a_broken_stream_gives_what_it_had_and_then_says_so(broken: bytes, said: str) -> None:
    """A silent end would pass for a finished answer."""
    decoder = StreamDecoder(Kind.CHAT, "m")
    heard: list[dict[str, Any]] = []
    with pytest.raises(BadAnswerError) as caught:  # noqa: PT012
        for chunk in decoder.feed(choice({"content": "a"}) + broken):
            heard.append(chunk)  # noqa: PERF402
        list(decoder.end())
    assert said in str(caught.value)
    assert [chunk["choices"][0]["delta"]["content"] for chunk in heard] == ["a"]


@pytest.mark.parametrize("stream", [b"", DONE, b"<html></html>", frame(choices=[], usage=None) + DONE])
def test_a_stream_without_choices_is_no_answer(stream: bytes) -> None:
    """An empty success hides an outage."""
    with pytest.raises(BadAnswerError, match="no answer"):
        decoded(stream)


def test_one_unfinished_choice_of_two_is_a_cut() -> None:
    """The first one's end says nothing of the second."""
    second = frame(choices=[{"index": 1, "delta": {"content": "b"}, "finish_reason": None}])
    with pytest.raises(BadAnswerError, match="cut"):
        decoded(choice({"content": "a"}, "stop") + second)


@pytest.mark.parametrize("tail", [b"", b'data: {"choices": [], "usa', DONE.rstrip()])
def test_a_finished_answer_needs_no_formal_end(tail: bytes) -> None:
    """Nothing of the answer is missing when only the end mark is."""
    assert decoded(choice({"content": "a"}, "stop") + tail)[-1]["choices"][0]["finish_reason"] == "stop"


def test_nothing_after_the_end_mark_is_heard() -> None:
    """Clients have stopped reading there; a late error or chunk would only be ours."""
    late = choice({"content": "b"}) + frame(error="late")
    assert len(decoded(choice({"content": "a"}, "stop") + DONE + late)) == 1


def test_legacy_completions_stream_text() -> None:
    """They have texts, no deltas and no roles."""
    stream = frame(id="x", choices=[{"text": "a"}]) + frame(choices=[{"text": None, "finish_reason": "length"}])
    chunks = decoded(stream, Kind.COMPLETIONS)
    assert [chunk["choices"][0] for chunk in chunks] == [
        {"text": "a", "index": 0, "finish_reason": None},
        {"text": "", "index": 0, "finish_reason": "length"},
    ]
    assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {("text_completion", "asked")}


def test_embeddings_have_no_streams() -> None:
    """Asking for one is a programmer's mistake, told at once."""
    with pytest.raises(ValueError, match="no streams"):
        StreamDecoder(Kind.EMBEDDINGS, "m")
