"""The texts of whole answers: however an answer is cut into chunks, what leaves adds up to the plain answer's."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.accumulate import accumulate
from app.gateway.flow import Flow
from app.gateway.modules.outputcap import ENDS, Cap, Outputcap
from app.gateway.patterns import linear
from app.gateway.texts import Texts

Json = dict[str, Any]
PATTERN = linear(r"\bke+y-[0-9]{2,4}\b|secret (?:word )+here")
WORDS = st.lists(
    st.sampled_from(["key-12", "keeey-", "12345", " ", "secret ", "word ", "here", "né", "k", "🚂. ", "!\n"]),
    max_size=9,
).map("".join)
CUTS = st.lists(st.integers(0, 60), max_size=8)


def texts() -> Texts:
    """What is tested: a redaction and a cut, one after another."""
    return Texts(lambda _: [Flow(PATTERN, lambda _: "#"), Cap(Outputcap(), 40, ENDS["word"])])


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces, some of them empty."""
    ends = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(ends)]


@st.composite
def answers(draw: st.DrawFn) -> tuple[Json, list[Json]]:
    """A whole answer of one or two choices, and its stream, the choices' pieces mixed."""
    choices, chunks = [], []
    for index in range(draw(st.integers(1, 2))):
        content, thought, arguments = draw(WORDS), draw(WORDS), draw(WORDS)
        message: Json = {"role": "assistant", "content": content, "reasoning_content": thought}
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
        choices.append({"index": index, "message": message | {"tool_calls": [call]}, "finish_reason": "stop"})
        deltas: list[Json] = [{"role": "assistant", "content": "", "reasoning_content": ""}]
        deltas += [{"reasoning_content": piece} for piece in cut(thought, draw(CUTS))]
        deltas += [{"content": piece} for piece in cut(content, draw(CUTS))]
        deltas.append({"tool_calls": [{"index": 0, **call, "function": {"name": "f", "arguments": ""}}]})
        pieces = cut(arguments, draw(CUTS))
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
        said = [{"index": index, "delta": delta, "finish_reason": None} for delta in deltas]
        last = draw(st.booleans())
        ended = said[-1] | {"finish_reason": "stop"} if last else {"index": index, "delta": {}, "finish_reason": "stop"}
        chunks.append([*(said[:-1] if last else said), ended])
    mixed = [{"id": "x", "choices": [part]} for line in chunks for part in line]
    if draw(st.booleans()) and len(chunks) > 1:
        mixed = [{"id": "x", "choices": list(parts)} for parts in zip(*chunks, strict=False)]
        rest = min(map(len, chunks))
        mixed += [{"id": "x", "choices": [part]} for line in chunks for part in line[rest:]]
    return {"id": "x", "choices": choices}, mixed


@settings(max_examples=300, deadline=None)
@given(answers())
def test_any_stream_adds_up_to_the_plain_answer(made: tuple[Json, list[Json]]) -> None:
    """Content, thoughts and arguments of every choice; and neither the answer nor a chunk is changed in place."""
    whole, chunks = made
    before = deepcopy(made)
    filtered = texts()
    passed = [chunk for chunk in map(filtered.chunk, chunks) if chunk is not None]
    assert accumulate(passed)["choices"] == texts().whole(whole)["choices"]
    assert made == before


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab.! \n", max_size=60), CUTS, st.integers(1, 30), st.sampled_from([*ENDS.values(), None]))
def test_any_split_is_cut_at_the_same_place(text: str, cuts: list[int], most: int, ends: Any) -> None:
    """Never longer than allowed, and whole where it fits."""
    capped = []
    for pieces in ([text], cut(text, cuts), list(text)):
        flow = Cap(Outputcap(), most, ends)
        capped.append("".join([*map(flow.feed, pieces), flow.end()]))
    assert len(set(capped)) == 1
    assert text.startswith(capped[0])
    assert len(capped[0]) <= most
    assert capped[0] == text or len(text) > most
