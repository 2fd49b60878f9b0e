"""OpenAI's wire forwards what callers may say, and passes on only what is an answer."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.providers import PROVIDERS
from app.gateway.providers.openai.wire import NEVER_FORWARDED, OPENAI_WIRE
from app.gateway.wire import BadAnswerError, Kind, Outgoing, Target, Usage

BODY: dict[str, Any] = {"model": "alias", "messages": [{"role": "user", "content": "hi"}]}
KEY = "sk-test-A1b2C3d4E5f6G7h8"
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", max_size=5), inner, max_size=3),
    max_leaves=8,
)


def target(name: str = "openai", *, model: str = "gpt-4o", base_url: str = "", key: str = KEY) -> Target:
    """Where a call goes, at a provider's own address unless told otherwise."""
    provider = PROVIDERS[name]
    return Target(provider, base_url or provider.base_url, model, key)


def sent(body: dict[str, Any], where: Target, kind: Kind = Kind.CHAT) -> tuple[Outgoing, dict[str, Any]]:
    """The request and its parsed body."""
    outgoing = OPENAI_WIRE.outgoing(kind, body, where)
    return outgoing, orjson.loads(outgoing.body)


def whole(**changes: Any) -> dict[str, Any]:
    """An answer as OpenAI gives it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06"}
    return {**head, "choices": [choice], "usage": usage, **changes}


@settings(deadline=None)
@given(st.dictionaries(st.text("abcdefgh_", min_size=1), JSON_VALUES))
def test_what_a_caller_says_is_forwarded_and_left_as_it_was(extra: dict[str, Any]) -> None:
    """Providers grow fields faster than gateways; a retry elsewhere needs the body untouched."""
    body = {**extra, "model": "alias", "messages": []}
    before = copy.deepcopy(body)
    _, fields = sent(body, target())
    assert fields == {k: v for k, v in body.items() if k not in NEVER_FORWARDED} | {"model": "gpt-4o"}
    assert body == before


@pytest.mark.parametrize("field", ["api_base", "base_url", "api_key", "custom_llm_provider", "extra_headers"])
def test_a_caller_never_chooses_host_or_key(field: str) -> None:
    """CVE-2024-6587: a caller's `api_base` sent the server's key to the caller's host."""
    outgoing, fields = sent(BODY | {field: "https://evil.example"}, target())
    assert field not in fields
    assert outgoing.url == "https://api.openai.com/v1/chat/completions"
    assert outgoing.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("stream_options", [None, {"include_usage": False, "include_obfuscation": False}])
def test_streams_always_ask_for_usage(stream_options: dict[str, bool] | None) -> None:
    """A caller who could switch usage off could stream for free."""
    _, fields = sent(BODY | {"stream": True, "stream_options": stream_options}, target())
    assert fields["stream_options"] == (stream_options or {}) | {"include_usage": True}


def test_a_provider_gets_its_own_names_and_nothing_it_refuses() -> None:
    """Mistral answers 422 to any field it does not know."""
    body = BODY | {"seed": 7, "max_completion_tokens": 9, "logprobs": True, "stream": True}
    _, fields = sent(body, target("mistral"))
    assert fields == BODY | {"model": "gpt-4o", "random_seed": 7, "max_tokens": 9, "stream": True}


def test_a_providers_own_name_wins_over_ours() -> None:
    """Who writes `random_seed` means Mistral's field."""
    _, fields = sent(BODY | {"seed": 7, "random_seed": 8}, target("mistral"))
    assert fields["random_seed"] == 8


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://h/v1/", "https://h/v1/chat/completions"),
        ("https://h/d/{model}?api-version=1", "https://h/d/a%2Fb%20c/chat/completions?api-version=1"),
    ],
)
def test_addresses_are_joined_safely(base_url: str, url: str) -> None:
    """Azure keeps its version in the query and its model in the path."""
    assert sent(BODY, target("azure", base_url=base_url, model="a/b c"))[0].url == url


@pytest.mark.parametrize("model", ["..", ".", ""])
def test_a_model_cannot_climb_out_of_its_place_in_the_path(model: str) -> None:
    """The model is the caller's word; the path is the administrator's."""
    with pytest.raises(ValueError, match="deployment"):
        sent(BODY, target("azure", base_url="https://h/d/{model}", model=model))


def test_azure_is_keyed_its_own_way() -> None:
    """Azure reads `api-key` bare and takes a Bearer token for something else."""
    headers = sent(BODY, target("azure", base_url="https://h"))[0].headers
    assert headers["api-key"] == KEY
    assert "authorization" not in headers


def test_without_a_key_nothing_is_sent_as_one() -> None:
    """Local servers need none."""
    assert "authorization" not in sent(BODY, target("ollama", key=""))[0].headers


def test_what_cannot_be_sent_is_the_callers_mistake() -> None:
    """ValueError becomes a 400; anything else would be a 500."""
    for body, where, kind in (
        (BODY, target("jina"), Kind.CHAT),
        (BODY, target(key="sk-bad\r\nx-evil: 1"), Kind.CHAT),
        (BODY | {"seed": 2**70}, target(), Kind.CHAT),
        (BODY, replace(target("azure"), base_url=""), Kind.CHAT),
    ):
        with pytest.raises(ValueError, match=r"\w") as caught:
            OPENAI_WIRE.outgoing(kind, body, where)
        assert KEY not in str(caught.value)


def test_a_key_is_in_no_repr() -> None:
    """Reprs end up in logs."""
    where = target()
    assert KEY not in repr(where)
    assert KEY not in repr(OPENAI_WIRE.outgoing(Kind.CHAT, BODY, where))


def test_a_proper_answer_is_passed_on_byte_for_byte() -> None:
    """Nothing is parsed and written again, so nothing is lost."""
    raw = orjson.dumps(whole())
    answer = OPENAI_WIRE.answer(Kind.CHAT, raw, "gpt-4o")
    assert answer.raw is raw
    assert (answer.body, answer.usage) == (whole(), Usage(input=3, output=2))


def test_an_answer_without_usage_is_estimated_and_says_so() -> None:
    """An unknown count must neither be zero nor pass for a report."""
    answer = OPENAI_WIRE.answer(Kind.CHAT, orjson.dumps(whole(usage=None)), "gpt-4o")
    assert answer.usage == Usage(output=2, reported=False)
    assert answer.raw is None
    assert answer.body["usage"]["completion_tokens"] == 2


def test_what_clients_read_is_filled_in() -> None:
    """Typed clients break on a missing id or an empty list of calls."""
    message = {"role": "assistant", "content": "hello", "tool_calls": []}
    bare = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    body = OPENAI_WIRE.answer(Kind.CHAT, orjson.dumps(bare), "some-model").body
    assert (body["object"], body["model"]) == ("chat.completion", "some-model")
    assert body["id"].startswith("chatcmpl-")
    assert body["created"] > 0
    assert "tool_calls" not in body["choices"][0]["message"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"<html><head><title>502 Bad Gateway</title>", "HTML error page: 502 Bad Gateway"),
        (orjson.dumps(whole())[:-10], "JSON cut short"),
        (b"", "no JSON"),
        (b"[]", "no object"),
        (orjson.dumps(whole(choices=[])), "without choices"),
        (b'{"detail": "model is loading"}', "model is loading"),
        (orjson.dumps(whole(choices=[{"index": 0}])), "without message"),
        (orjson.dumps(whole(choices=[None])), "without message"),
        (orjson.dumps(whole(error={"message": f"overloaded {KEY}"})), "overloaded [redacted]"),
        (orjson.dumps(whole(choices=[whole()["choices"][0] | {"error": {"message": "mid"}}])), "mid"),
    ],
)
def test_no_answer_never_passes_for_one(raw: bytes, said: str) -> None:
    """An empty success hides an outage from failover and from the person on call."""
    with pytest.raises(BadAnswerError) as caught:
        OPENAI_WIRE.answer(Kind.CHAT, raw, "gpt-4o")
    assert said in str(caught.value)


@settings(deadline=None)
@given(st.binary(max_size=200) | JSON_VALUES.map(orjson.dumps), st.sampled_from(Kind))
def test_any_bytes_are_an_answer_or_a_bad_answer(raw: bytes, kind: Kind) -> None:
    """Whatever a provider sends, the lane meets one exception."""
    with contextlib.suppress(BadAnswerError):
        assert OPENAI_WIRE.answer(kind, raw, "m").body


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"error":{"message":"no such model","type":"t","param":"model","code":"c"}}', "no such model"),
        (b'{"error":"plain"}', "plain"),
        (b'[{"error":{"code":400,"message":"in a list"}}]', "in a list"),
        (b'{"object":"error","message":"at the top","code":3001}', "at the top"),
        (b'{"detail":[{"loc":["body","n"],"msg":"too big"},{"loc":["body","x"],"msg":"odd"}]}', "body.n: too big; bo"),
        (b'{"detail":"asleep"}', "asleep"),
        (b"upstream connect error\r\n", "upstream connect error"),
        (b"<!DOCTYPE html><html><body>x</body></html>", "HTML error page"),
        (b"", "HTTP 418 without a reason"),
        (b"\xff\xfe", "��"),
    ],
)
def test_a_refusal_tells_its_reason_in_every_form(raw: bytes, message: str) -> None:
    """Without the reason a caller cannot mend the request."""
    assert OPENAI_WIRE.refusal(418, raw).message.startswith(message)


def test_a_refusal_keeps_type_param_and_code() -> None:
    """SDKs branch on the code, which some providers write as a number."""
    refusal = OPENAI_WIRE.refusal(400, b'{"error":{"message":"m","type":"t","param":"p","code":7}}')
    assert (refusal.type, refusal.param, refusal.code) == ("t", "p", "7")


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=600), st.sampled_from(["message", "param", "code"]))
def test_a_refusal_is_short_and_holds_no_key(around: str, field: str) -> None:
    """Providers quote the key in their reasons; a cut must not leave half of it."""
    refusal = OPENAI_WIRE.refusal(401, orjson.dumps({"error": {field: f"{around} {KEY} {around}"}}))
    shown = f"{refusal.message}{refusal.param}{refusal.code}"
    assert "C3d4" not in shown
    assert len(refusal.message) <= 500
    assert "\n" not in shown


@pytest.mark.parametrize("start", range(470, 500, 3))
def test_a_cut_through_a_key_leaves_nothing_of_it(start: int) -> None:
    """What is left of a key after a cut may be too short to be recognised, and long enough to matter."""
    raw = orjson.dumps({"error": {"message": "x" * start + " " + KEY}})
    assert "sk-" not in OPENAI_WIRE.refusal(401, raw).message
