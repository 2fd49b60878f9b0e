"""Every provider against every row of the table: what is sent, what comes back whole, what comes back streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.gateway.accumulate import accumulate
from app.gateway.providers import PROVIDERS
from app.gateway.wire import BadAnswerError, Kind, Usage
from tests.gateway.conformance import calls
from tests.gateway.conformance.capabilities import FAMILIES, Case, case, rows_of
from tests.gateway.conformance.expectations import expected_request

if TYPE_CHECKING:
    from requests import Session

    from tests.gateway.conformance.expectations import Request
    from tests.gateway.conformance.upstream import Received, Upstream

CASES = [case(name, row) for name, held in PROVIDERS.items() if name in FAMILIES for row in rows_of(name, held.kinds)]
# Answers are read by the wire alone, so one provider stands for all that share wire and fixtures.
READ = list({(one.folder, id(PROVIDERS[one.provider].wire)): one for one in CASES}.values())
STREAMS = [one for one in READ if one.stream is not None]


def cases_with(*names: str) -> list[Case]:
    """The cases whose expectation holds any of these."""
    return [one for one in READ if any(name in one.expected for name in names)]


@pytest.mark.parametrize("one", CASES, ids=str)
def test_the_provider_gets_the_request_it_documents(one: Case, upstream: Upstream, session: Session) -> None:
    """A field lost or misnamed on the way out changes the answer without anyone noticing."""
    calls.fetched(one, upstream, session)
    assert_received(upstream.received, expected_request(one, stream=False))


@pytest.mark.parametrize("one", [one for one in CASES if one.kind is not Kind.EMBEDDINGS], ids=str)
def test_a_stream_is_asked_for_the_way_the_provider_documents(one: Case, upstream: Upstream, session: Session) -> None:
    """Without its own switch a provider answers whole, and without usage a stream can only be charged by guess."""
    calls.streamed(one, upstream, session)
    assert_received(upstream.received, expected_request(one, stream=True))


def assert_received(received: Received, expected: Request) -> None:
    """The request is the expected one, and its URL, which proxies log, holds no key."""
    path, headers, body = expected
    assert received.path == path
    assert received.body == body
    assert {name: received.headers.get(name) for name in headers} == headers
    assert calls.KEY not in received.path


@pytest.mark.parametrize("one", cases_with("choices"), ids=str)
def test_a_whole_answer_reads_as_an_openai_one(one: Case, upstream: Upstream, session: Session) -> None:
    """Text, calls, reasoning and finish reasons in OpenAI's words; each token counted in one part only."""
    raw = calls.fetched(one, upstream, session).content
    answer = PROVIDERS[one.provider].wire.answer(one.kind, raw, one.asked["model"])
    assert answer.body["model"] == one.expected["model"]
    assert calls.shape(answer.body["choices"]) == calls.shape(one.expected["choices"])
    assert answer.usage == Usage(**one.expected["usage"])
    assert answer.body["usage"]["prompt_tokens"] == answer.usage.tokens_in


@pytest.mark.parametrize("one", [one for one in cases_with("choices") if one.stream], ids=str)
def test_a_stream_adds_up_to_the_whole_answer(one: Case, upstream: Upstream, session: Session) -> None:
    """The central promise: a caller gets the same answer and the same bill, however it is delivered."""
    raw = calls.fetched(one, upstream, session).content
    answer = PROVIDERS[one.provider].wire.answer(one.kind, raw, one.asked["model"])
    heard = calls.streamed(one, upstream, session)
    assert heard.error is None
    summed = accumulate(heard.chunks, heard.usage)
    assert calls.shape(summed["choices"]) == calls.shape(answer.body["choices"])
    assert (summed["object"], summed["model"]) == (answer.body["object"], answer.body["model"])
    assert heard.usage == answer.usage


@pytest.mark.parametrize("one", [one for one in cases_with("choices") if one.stream], ids=str)
def test_chunks_keep_the_rules_clients_rely_on(one: Case, upstream: Upstream, session: Session) -> None:
    """SDKs index by id, wait for the one finish reason, and read the role off the first delta."""
    chunks = calls.streamed(one, upstream, session).chunks
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)
    for index in {choice["index"] for chunk in chunks for choice in chunk["choices"]}:
        mine = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        assert [choice["finish_reason"] is not None for choice in mine].count(True) == 1
        if one.kind is Kind.CHAT:
            assert ["role" in choice["delta"] for choice in mine] == [True] + [False] * (len(mine) - 1)


@pytest.mark.parametrize("one", cases_with("vectors"), ids=str)
def test_embeddings_come_in_the_order_of_their_inputs(one: Case, upstream: Upstream, session: Session) -> None:
    """A vector under the wrong index poisons a search index for good."""
    raw = calls.fetched(one, upstream, session).content
    answer = PROVIDERS[one.provider].wire.answer(one.kind, raw, one.asked["model"])
    assert [row["embedding"] for row in answer.body["data"]] == one.expected["vectors"]
    assert [row["index"] for row in answer.body["data"]] == list(range(len(answer.body["data"])))
    assert answer.usage == Usage(**one.expected["usage"])


@pytest.mark.parametrize("one", cases_with("plain_error"), ids=str)
def test_nonsense_with_status_200_is_no_answer(one: Case, upstream: Upstream, session: Session) -> None:
    """A proxy's page or an error under 200 must fail over, not reach the caller as an empty success."""
    raw = calls.fetched(one, upstream, session).content
    with pytest.raises(BadAnswerError) as caught:
        PROVIDERS[one.provider].wire.answer(one.kind, raw, one.asked["model"])
    assert one.expected["plain_error"] in str(caught.value)


@pytest.mark.parametrize("one", cases_with("stream_error"), ids=str)
def test_a_broken_stream_says_so_after_what_it_said(one: Case, upstream: Upstream, session: Session) -> None:
    """A silent end looks like a finished answer; what came before the break still belongs to the caller."""
    heard = calls.streamed(one, upstream, session)
    assert one.expected["stream_error"] in (heard.error or "")
    assert calls.text(heard.chunks) == one.expected["streamed"]


@pytest.mark.parametrize("one", cases_with("refusal"), ids=str)
def test_a_refusal_keeps_the_providers_reason(one: Case, upstream: Upstream, session: Session) -> None:
    """A caller can only mend a request when told what was wrong with it."""
    response = calls.fetched(one, upstream, session)
    refusal = PROVIDERS[one.provider].wire.refusal(response.status_code, response.content)
    said = {"message": refusal.message, "type": refusal.type, "code": refusal.code, "param": refusal.param}
    wanted = {name: value for name, value in one.expected["refusal"].items() if name != "status"}
    assert {name: value for name, value in said.items() if value is not None} == wanted


@pytest.mark.parametrize("one", STREAMS, ids=str)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_where_the_network_cuts_a_stream_changes_nothing(one: Case, data: st.DataObject) -> None:
    """Packets end inside characters, line ends and JSON; no chunk may come out different for it."""
    whole = one.stream or b""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    cut, plain = calls.heard(one, pieces), calls.heard(one, [whole])
    assert [chunk["choices"] for chunk in cut.chunks] == [chunk["choices"] for chunk in plain.chunks]
    assert (cut.usage, cut.error) == (plain.usage, plain.error)
