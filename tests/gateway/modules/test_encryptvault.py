"""The vault: what calls say is stored sealed under the operator's key, read while it is there, and by nobody after."""

from __future__ import annotations

import json
import logging
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Engine, select, text, update

from app.engine import Context
from app.factory import Application
from app.outbound.otlp import collector
from app.runtime import enter
from app.services import personal_export
from app.services.observing.exchange_log import Keeping
from app.services.resealing import reseal
from app.services.rollups import store
from app.services.spans.export import SpanExport
from app.services.trace_record import TraceRecord, trace_id
from app.services.training.conversations import conversation
from app.services.vault.closing import MARK, SEALED, Rule, rule_of
from app.services.vault.keys import Keys, UnusableKeyError, read
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from models.answers import CachedAnswer
from models.base import Base, micros, now, transaction
from models.chat import ChatMemory
from models.idempotency import IdempotentCall
from models.identity import User
from models.observing import ExchangeChain
from models.traces import TraceBody
from models.webhooks import Webhook
from support.approvals import desk_of
from support.callers import Caller, Client
from support.envelopes import Refusals
from support.receiver import receiving

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
Json = dict[str, Any]
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
VARIABLE = "OUR_VAULT_KEY"
ONE, OTHER = (b64encode(bytes(range(at, at + 32))).decode() for at in (1, 2))
ASKED, SAID = "canaryprompt-bluebird", "canaryanswer-goldfinch"
TURN = [{"role": "user", "content": ASKED}]
WIRES: dict[str, Json] = {
    "/v1/chat/completions": {"messages": TURN},
    "/v1/completions": {"prompt": ASKED},
    "/v1/messages": {"messages": TURN, "max_tokens": 50},
    "/v1/responses": {"input": ASKED},
}


@pytest.fixture
def engine(application: Application) -> Engine:
    """The test's database."""
    return application.runtime.engine


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch, configure: Configure, upstream: Upstream) -> Callable[..., None]:
    """`keyed(ONE, OTHER)`: these keys are here; `keyed()`: none is. The module is on, and the model has its answer."""
    upstream.script(MODEL, {"text": SAID})

    def hold(*keys: str, **settings: Any) -> None:
        monkeypatch.setenv(VARIABLE, ",".join(keys))
        configure("encryptvault", **{"key_env": VARIABLE} | settings)

    return hold


def shown(admin: Caller, id_: str) -> Json:
    """A trace on its own page."""
    body: Json = admin.get(f"/api/observe/traces/{id_}").json()
    return body


def tables(engine: Engine) -> dict[str, str]:
    """Every table, as text."""
    with transaction(engine, write=False) as session:
        read_: dict[str, list[Any]] = {t.name: [tuple(r) for r in session.execute(select(t))] for t in _tables()}
    return {name: str(rows) for name, rows in read_.items()}


def _tables() -> list[Any]:
    return Base.metadata.sorted_tables


def holding(engine: Engine) -> list[str]:
    """The tables that hold a word of what was said."""
    return [name for name, rows in tables(engine).items() if ASKED in rows or SAID in rows]


def made(**fields: Any) -> TraceRecord:
    """A call that said something everywhere."""
    held: Json = {"request_id": "r", "operation": "chat.completion", "provider": "p", "model": "m", "status": "error"}
    held |= {"error": f"p: {ASKED}", "request_body": ASKED.encode(), "response_body": SAID.encode()}
    return TraceRecord(id=trace_id(), created_at=micros(now()), **(held | fields))


@BOTH
@pytest.mark.parametrize("path", WIRES)
def test_what_is_said_is_stored_sealed_and_read_with_the_key(
    client: Client, keyed: Configure, traces: Traces, engine: Engine, path: str, stream: bool
) -> None:
    """On every wire; without the key the page says what is shut, and shows nothing of it."""
    keyed(ONE)
    answer = client.user.post(path, json={"model": MODEL, "stream": stream, **WIRES[path]})
    assert answer.status_code == 200, answer.text
    (trace,) = traces(1)
    assert all(bytes(trace[part]).startswith(MARK) for part in ("request", "response"))
    assert holding(engine) == []
    told = shown(client.admin, trace["id"])
    assert ASKED in told["request_body"]
    assert SAID in told["response_body"]
    assert "sealed" not in told
    keyed()
    told = shown(client.admin, trace["id"])
    assert told["sealed"] == ["request", "response"]
    assert not {"request_body", "response_body"} & told.keys()
    assert told["tokens_in"] == 20


def test_an_error_that_quotes_is_sealed_too(
    ask: Ask, keyed: Configure, upstream: Upstream, traces: Traces, admin: Caller, engine: Engine
) -> None:
    """In its trace; and where it is told on, by webhook, it says that it is sealed."""
    with transaction(engine) as session:
        session.add(Webhook(url="http://127.0.0.1:9/", events=["trace.error"]))
    keyed(ONE)
    long = f"no {ASKED} " + "ü" * 900
    upstream.script(MODEL, {"status": 400, "error": {"message": long}})
    assert ASKED in ask(MODEL, ASKED).text
    (trace,) = traces(1)
    assert trace["error"].startswith(SEALED)
    assert ASKED in shown(admin, trace["id"])["error"]
    stored = tables(engine)
    assert holding(engine) == []
    assert "What was said of this error is sealed" in stored["webhook_messages"]
    keyed()
    told = shown(admin, trace["id"])
    assert told["sealed"] == ["request", "error"]
    assert "error" not in told


def test_only_the_fields_that_are_set_are_sealed(
    ask: Ask, keyed: Configure, traces: Traces, admin: Caller, configure: Configure
) -> None:
    """Metadata on request, but for what the server itself reads of it."""
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    configure("tenantwall", tenants=[{"id": "canarytenant"}])
    keyed(ONE, fields=["metadata"])
    ask(MODEL, ASKED, headers={"X-Project": "canarytenant", "traceparent": parent})
    (trace,) = traces(1)
    assert ASKED.encode() in bytes(trace["request"])
    assert "canarytenant" not in str(trace["details"])
    assert parent in str(trace["details"])
    assert shown(admin, trace["id"])["metadata"] == {"traceparent": parent, "tenant": "canarytenant"}
    keyed(fields=["metadata"])
    told = shown(admin, trace["id"])
    assert (told["metadata"], told["sealed"]) == ({"traceparent": parent}, ["metadata"])
    keyed(ONE, fields=["response"])
    ask(MODEL, ASKED)
    trace = traces(2)[1]
    assert ASKED.encode() in bytes(trace["request"])
    assert bytes(trace["response"]).startswith(MARK)


def test_a_key_is_changed_by_putting_another_in_front(
    ask: Ask, keyed: Configure, traces: Traces, admin: Caller
) -> None:
    """The new one seals, both open; whichever is withdrawn shuts what it sealed, and nothing else."""
    keyed(ONE)
    ask(MODEL, ASKED)
    traces(1)
    keyed(OTHER, ONE)
    ask(MODEL, ASKED)
    ids = [trace["id"] for trace in traces(2)]
    assert [ASKED in shown(admin, id_)["request_body"] for id_ in ids] == [True, True]
    keyed(OTHER)
    assert [shown(admin, id_).get("sealed") for id_ in ids] == [["request", "response"], None]
    keyed(ONE)
    assert [shown(admin, id_).get("sealed") for id_ in ids] == [None, ["request", "response"]]


@SQLITE
def test_a_body_opens_for_its_own_call_only(
    ask: Ask, keyed: Configure, traces: Traces, admin: Caller, engine: Engine
) -> None:
    """Whoever moves one to another call, or changes a byte, has moved nothing that can be read."""
    keyed(ONE)
    ask(MODEL, ASKED)
    ask(MODEL, "hello")
    first, second = traces(2)
    with transaction(engine) as session:
        session.execute(
            update(TraceBody).where(TraceBody.seq == second["seq"]).values(request=first["request"], response=b"\xff")
        )
    told = shown(admin, second["id"])
    assert told["sealed"] == ["request"]
    assert ASKED not in str(told)


@SQLITE
def test_it_is_not_switched_on_without_a_key(admin: Caller, monkeypatch: pytest.MonkeyPatch, refused: Refusals) -> None:
    """By whatever way; the refusal says what to do, and nothing of what the variable holds."""
    monkeypatch.setenv("CANARY_NO_KEY", "canary-too-short")

    def put(**body: Any) -> Any:
        return admin.put("/api/proxy/modules/encryptvault", json=body)

    for variable, said in (("OUR_UNSET", "is not set"), ("CANARY_NO_KEY", "holds no key")):
        told = refused(put(enabled=True, config={"key_env": variable}), 409)["error"]
        assert f"the environment variable {variable} {said}: give it 32 random bytes" in told["message"]
        assert "too-short" not in str(told)
    assert put(config={"key_env": "OUR_UNSET"}).status_code == 200  # while it is off, nothing is promised
    toggled = admin.post("/api/proxy/modules/bulk", json={"modules": ["encryptvault"], "enabled": True})
    assert "is not set" in refused(toggled, 409)["error"]["message"]
    monkeypatch.setenv("OUR_UNSET", ONE)
    assert put(enabled=True).status_code == 200
    refused(put(config={"key_env": "CANARY_NO_KEY"}), 409)
    monkeypatch.delenv("OUR_UNSET")
    assert put(enabled=False).status_code == 200


def test_without_a_variable_nothing_is_sealed(ask: Ask, admin: Caller, traces: Traces) -> None:
    """As the catalogue says; and switched off, bytes are stored as they came."""
    assert admin.put("/api/proxy/modules/encryptvault", json={"enabled": True}).status_code == 200
    ask(MODEL, ASKED)
    (trace,) = traces(1)
    assert ASKED in json.loads(bytes(trace["request"]))["messages"][0]["content"]
    assert admin.get("/api/proxy/modules/encryptvault").json()["stats"] == {"sealed": 0, "withheld": 0, "key": None}


def test_once_the_key_is_withdrawn_calls_go_on_and_leave_no_word(  # noqa: PLR0913, PLR0917 (fixtures)
    ask: Ask,
    keyed: Configure,
    upstream: Upstream,
    traces: Traces,
    admin: Caller,
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is stored in the clear for want of a key: figures are kept, the log and the counts say why no more is."""
    with caplog.at_level(logging.ERROR, "yardmaster.vault"):
        keyed(fields=["request", "response", "metadata"])
    assert f"{VARIABLE} holds no key" in caplog.text
    assert ask(MODEL, ASKED).status_code == 200
    upstream.script(MODEL, {"status": 400, "error": {"message": ASKED}})
    ask(MODEL, ASKED)
    good, bad = traces(2)
    assert (good["request"], good["response"], good["tokens_out"]) == (None, None, 10)
    assert bad["error"] == "What was said of this error is not kept: the key to seal it is not here"
    assert holding(engine) == []
    assert "sealed" not in shown(admin, good["id"])
    assert admin.get("/api/proxy/modules/encryptvault").json()["stats"] == {"sealed": 0, "withheld": 2, "key": None}


def test_what_was_done_is_counted(ask: Ask, keyed: Configure, admin: Caller) -> None:
    """With the name of the key that seals, which tells nothing of it."""
    keyed(ONE, OTHER)
    ask(MODEL)
    stats = admin.get("/api/proxy/modules/encryptvault").json()["stats"]
    keys = read("X", {"X": ONE})
    assert stats == {"sealed": 1, "withheld": 0, "key": keys.current}


def test_a_conversation_is_remembered_sealed(
    ask: Ask, keyed: Configure, configure: Configure, upstream: Upstream, engine: Engine
) -> None:
    """And goes on while the key is here; without it nothing is recalled, and nothing kept."""
    configure("chatmem")
    keyed(ONE)

    def turn(said: str) -> list[str]:
        ask(MODEL, said, headers={"x-memory": "on"})
        return [message["content"] for message in upstream.seen(MODEL)[-1]["body"]["messages"]]

    assert turn(ASKED) == [ASKED]
    assert turn("two") == [ASKED, SAID, "two"]
    assert turn("three") == [ASKED, SAID, "two", SAID, "three"]
    assert _soon(lambda: len(_turns(engine)) == 1)
    assert holding(engine) == []
    keyed(OTHER)
    assert turn(ASKED) == [ASKED]
    keyed()
    assert turn(ASKED) == [ASKED]
    assert _soon(lambda: _turns(engine) == [])
    configure("encryptvault", enabled=False)
    assert turn(ASKED) == [ASKED]
    assert _soon(lambda: _turns(engine) == [["user", ASKED], ["assistant", SAID]])


def _turns(engine: Engine) -> list[Any]:
    with transaction(engine, write=False) as session:
        return list(session.scalars(select(ChatMemory.turns)).one_or_none() or ())


def _soon(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return held


def test_ones_own_copy_is_in_the_clear_while_the_key_is_here(
    client: Client, ask: Ask, keyed: Configure, configure: Configure, traces: Traces, engine: Engine
) -> None:
    """Calls and conversations alike; what stays shut is named in it."""
    configure("chatmem")
    keyed(ONE, fields=["request", "response", "metadata"])
    ask(MODEL, ASKED, headers={"x-memory": "on"})
    traces(1)
    assert _soon(lambda: len(_turns(engine)) == 1)
    copied = _export(client)
    [call], [memory] = copied["model_calls"], copied["chat_memory"]
    assert (ASKED in call["request"], SAID in call["response"]) == (True, True)
    assert memory["turns"] == [["user", ASKED], ["assistant", SAID]]
    keyed()
    copied = _export(client)
    [call], [memory] = copied["model_calls"], copied["chat_memory"]
    assert (call["request"], call["response"], call["sealed"]) == (None, None, ["request", "response"])
    assert (memory["turns"], memory["sealed"]) == ([], ["turns"])


def _export(client: Client) -> Json:
    enter(client.application.runtime)
    with transaction(client.application.runtime.engine, write=False) as session:
        user = session.get_one(User, 1)
    copied: Json = json.loads(b"".join(personal_export.pieces(client.application.runtime.engine, user)))
    return copied


def test_answers_kept_for_a_while_are_withdrawn_too(
    ask: Ask, keyed: Configure, configure: Configure, application: Application
) -> None:
    """For a repetition, and in the cache of all workers; neither is a secret of the server's own to seal anew.

    Not before every worker has heard of the key: one that had not would make the call again.
    """
    configure("cachelayer")
    keyed(ONE)
    ask(MODEL, "hello", headers={"Idempotency-Key": "at once"})
    assert _soon(lambda: len(_kept(application.runtime.engine)) == 2)
    assert {held[:6] for held in _kept(application.runtime.engine)} == {b"v1.k1."}
    application.runtime.gateway.vault.known_since -= 10

    def replays() -> bool:
        return "idempotency-replayed" in ask(MODEL, ASKED, headers={"Idempotency-Key": "once"}).headers

    assert [replays(), replays()] == [False, True]
    engine, own = application.runtime.engine, f"v1.{read('X', {'X': ONE}).current}.".encode()
    assert _soon(lambda: len(_kept(engine)) == 4)
    assert sorted(held.startswith(own) for held in _kept(engine)) == [False, False, True, True]
    outcome = reseal(engine, application.runtime.secrets, lambda _done, _total: None)
    assert (outcome.resealed, outcome.failed) == (0, 0)
    configure("encryptvault", enabled=False, key_env=VARIABLE)
    assert replays()
    keyed(OTHER)
    assert not replays()


def _kept(engine: Engine) -> list[bytes]:
    with transaction(engine, write=False) as session:
        repeated = session.scalars(select(IdempotentCall.sealed_answer)).all()
        return [*filter(None, repeated), *(held.encode() for held in session.scalars(select(CachedAnswer.sealed)))]


def test_the_chained_log_is_sealed_and_holds(
    ask: Ask, keyed: Configure, configure: Configure, traces: Traces, engine: Engine
) -> None:
    """It is checked without the key: the hashes are of what is stored."""
    configure("compliancelog", include_bodies=True)
    keyed(ONE)
    ask(MODEL, ASKED)
    traces(1)
    stored = tables(engine)["logged_exchanges"]
    assert f"{SEALED}v1." in stored
    assert holding(engine) == []
    keyed()
    Keeping(engine)(Context("keeping", Event(), lambda: False, lambda _, step: step()))
    with transaction(engine, write=False) as session:
        chain = session.scalars(select(ExchangeChain)).one()
        assert (chain.number, chain.broken_at, chain.checked_at is None) == (1, None, False)


@SQLITE
def test_log_lines_are_sealed(ask: Ask, keyed: Configure, configure: Configure, client: Client) -> None:
    """In the words in which everything is: what opens a trace opens a line."""
    configure("proxylog", target="file", bodies=True)
    keyed(ONE)
    ask(MODEL, ASKED)
    file = client.application.runtime.settings.data / "proxy.log"
    assert _soon(lambda: file.exists() and bool(file.read_text()))
    line = json.loads(file.read_text())
    assert line["request"].startswith(f"{SEALED}v1.{read('X', {'X': ONE}).current}.")
    assert not [word for word in (ASKED, SAID) if word in file.read_text()]


def test_what_answers_decline_is_still_counted(
    ask: Ask, keyed: Configure, configure: Configure, upstream: Upstream, traces: Traces, engine: Engine
) -> None:
    """`driftwatch` reads them as they are stored; once the key is gone it counts what it can without."""
    configure("driftwatch")
    keyed(ONE)
    upstream.script(MODEL, {"text": "I'm sorry, I can't help with that."})
    ask(MODEL)
    traces(1)
    assert _measured(engine) == {"refused": 1, "tokens": 1, "latency": 1}
    keyed()
    rule = Rule(read("X", {"X": ONE}), frozenset({"response"}))
    store(engine, [rule.applied(made(status="ok", error=None))])
    assert _measured(engine) == {"refused": 1, "tokens": 2, "latency": 2}


def _measured(engine: Engine) -> dict[str, int]:
    with transaction(engine, write=False) as session:
        rows = session.execute(text("SELECT measure, sum(calls) FROM call_spreads GROUP BY measure"))
        return {measure: int(calls) for measure, calls in rows}


@SQLITE
def test_spans_carry_nothing_that_is_sealed(
    ask: Ask, keyed: Configure, upstream: Upstream, traces: Traces, application: Application
) -> None:
    """A collector keeps what it is sent, whatever becomes of the key; whose span it is, is told."""
    parent = "4bf92f3577b34da6a3ce929d0e0e4736"
    with receiving() as receiver:
        receiver.said, receiver.headers = b"{}", {"content-type": "application/json"}
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url.removesuffix("/hook")}
        found = collector(variables | {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})
        assert found is not None
        enter(application.runtime)
        export = SpanExport(application.runtime.engine, found)
        export(Context("spans", Event(), lambda: False, lambda _, step: step()))
        keyed(ONE, fields=["request", "response", "metadata"])
        ask(MODEL, ASKED, headers={"traceparent": f"00-{parent}-00f067aa0ba902b7-01"})
        upstream.script(MODEL, {"status": 400, "error": {"message": ASKED}})
        ask(MODEL, ASKED)
        traces(2)
        export(Context("spans", Event(), lambda: False, lambda _, step: step()))
        [sent] = [post.raw.decode() for post in receiver.posts]
    assert parent in sent
    assert not [word for word in (ASKED, SAID, SEALED) if word in sent]


def test_calls_recorded_by_hand_are_sealed(admin: Caller, keyed: Configure, engine: Engine) -> None:
    """They are stored prompts like any other."""
    keyed(ONE, fields=["request", "response", "metadata"])
    body = {"request_body": ASKED, "response_body": SAID, "metadata": {"note": ASKED}, "error": ASKED}
    made_ = admin.post("/api/observe/traces", json={"operation": "chat"} | body)
    assert made_.status_code == 201, made_.text
    assert holding(engine) == []
    told = shown(admin, made_.json()["id"])
    assert {name: told[name] for name in body} == body


def test_findings_show_no_part_of_what_they_found(
    ask: Ask, keyed: Configure, configure: Configure, traces: Traces, admin: Caller
) -> None:
    """That a secret was there is kept; its first and last letters are of what is sealed."""
    configure("secretscan", patterns=["github_pat"], action="alert", mask_preview=True)
    secret = "ghp_" + "canarycanary".ljust(36, "0")

    def parts(count: int) -> list[str | None]:
        ask(MODEL, secret)
        traces(count)
        events = admin.get("/api/guardrails/events").json()["events"]
        assert {event["rule_name"] for event in events} == {"secretscan.github_pat"}
        return [event.get("match_text") for event in events]

    assert parts(1) == ["ghp_...0000"]
    keyed(ONE)
    assert parts(2) == [None, "ghp_...0000"]


def test_a_spool_line_is_sealed() -> None:
    """Before any file: a record that may be kept holds no word, and reads back as it was written."""
    rule = rule_of({"key_env": VARIABLE, "fields": ["request", "response"]})
    assert rule is not None
    assert rule.keys is None
    kept = Rule(read("X", {"X": ONE}), frozenset({"request", "response"})).applied(made())
    for record in (kept, rule.applied(made())):
        line = record.to_line()
        assert not [word for word in (ASKED, SAID) if word.encode() in line]
        assert TraceRecord.from_line(line) == record


def test_a_key_is_read_in_every_form() -> None:
    """Base64 of both alphabets, with or without padding, and hexadecimal; the name of a key is its own."""
    raw = bytes(range(224, 256))
    forms = (b64encode(raw).decode(), urlsafe_b64encode(raw).decode().rstrip("="), raw.hex(), f" {raw.hex()} ")
    found = [read("X", {"X": form}) for form in forms]
    assert {keys.current for keys in found} == {found[0].current}
    both = read("X", {"X": f"{ONE}, {OTHER}"})
    assert (len(both.keyring), both.current) == (2, read("X", {"X": ONE}).current)
    assert ONE not in repr(both)
    assert isinstance(both, Keys)


@pytest.mark.parametrize("value", ["", " ", ",", ONE[:-8], f"{ONE},", f"{ONE},x", "ü" * 64, "g" * 64, "a" * 32])
def test_what_is_no_key_is_refused(value: str) -> None:
    """A cut or mistyped key must not protect anything."""
    with pytest.raises(UnusableKeyError, match=r"X (is not set|holds no key)"):
        read("X", {"X": value})


def test_who_approves_a_call_is_shown_nothing_of_what_is_sealed(
    keyed: Callable[..., None], configure: Configure, ask: Ask, admin: Caller, engine: Engine
) -> None:
    """Not while the call waits, either: what waits is in a table."""
    keyed(ONE)
    configure("approvalgate", patterns=["canaryprompt"], timeout="20s")
    with desk_of(admin.get, admin.post) as desk:
        asked = desk.begin(ask, MODEL, ASKED)
        [held] = desk.waiting()
        assert held["preview"] == ""
        assert [name for name, rows in tables(engine).items() if ASKED in rows] == []
        assert desk.decide(held["id"], "approve").status_code == 200
        assert asked.result(10).status_code == 200


def test_what_is_sealed_is_no_training_data() -> None:
    """A key that is withdrawn would leave the files behind."""
    said = json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": SAID}}]}).encode()
    asked = json.dumps({"messages": TURN}).encode()
    assert conversation(asked, said) is not None
    keys = read(VARIABLE, {VARIABLE: ONE})
    sealed = Rule(keys, frozenset({"request", "response"})).applied(made(request_body=asked, response_body=said))
    assert conversation(sealed.request_body or b"", said) is None
    assert conversation(asked, sealed.response_body or b"") is None
