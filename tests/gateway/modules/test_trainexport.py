"""Training data: each well-rated call is one whole line, once, without what tells of people, whoever is killed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, delete, func, select, update

from app.engine import Context
from app.factory import Application
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from app.services.training import choosing, files, turn
from app.services.training.turn import Turn
from app.services.wiping.turn import Turn as Wiping
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL, text_of
from models.base import micros, now, transaction
from models.traces import TraceBody
from models.training import TrainingCall, TrainingSearch
from models.trust import TrustFeedback
from support.accounts import PASSWORD, People, cookies_of, value_of
from support.callers import Caller
from support.plans import plan_of, scans
from support.together import at_once

Configure = Callable[..., None]
Json = dict[str, Any]
NAME, FEEDBACK = "trainexport", "/api/trust/feedback"
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


@pytest.fixture
def engine(application: Application) -> Engine:
    """The test's database."""
    return application.runtime.engine


@pytest.fixture
def data(application: Application) -> Path:
    """The test's data directory."""
    return application.runtime.settings.data


@pytest.fixture
def export(engine: Engine, data: Path) -> Callable[[], None]:
    """Writes, as the engine does every minute."""
    context = Context(NAME, threading.Event(), lambda: False, lambda _, step: step())
    return lambda: Turn(engine, data, pause_s=0)(context)


@pytest.fixture
def shown(admin: Caller) -> Callable[[], Json]:
    """The module's statistics, as an operator reads them."""
    return lambda: dict(admin.get(f"/api/proxy/modules/{NAME}").json()["stats"])


Export = Callable[[], None]
Shown = Callable[[], Json]


def call(question: str = "hello", answer: str = "hi", **fields: Any) -> TraceRecord:
    """A finished call with its bodies."""
    asked = {"model": "m", "messages": [{"role": "user", "content": question}]}
    said = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": answer}}]}
    held: Json = {"request_id": "r", "operation": "chat.completion", "provider": "p", "model": "m", "status": "ok"}
    held |= {"request_body": orjson.dumps(asked), "response_body": orjson.dumps(said), "created_at": micros(now())}
    return TraceRecord(id=trace_id(), **(held | fields))


def rated(engine: Engine, rating: int, *calls: TraceRecord) -> None:
    """Stores calls, and what an operator thought of them."""
    store(engine, calls)
    with transaction(engine) as session:
        session.add_all(TrustFeedback(request_id=one.id, rating=rating) for one in calls)


def written(data: Path) -> list[Json]:
    """What the files hold, line by line: each must be whole."""
    found = sorted((data / files.FOLDER).glob("*.jsonl"))
    return [json.loads(line) for file in found for line in file.read_text().splitlines()]


def questions(data: Path) -> list[str]:
    """Which calls they hold, by their questions."""
    return [line["messages"][0]["content"] for line in written(data)]


def test_well_rated_calls_are_written_once(
    engine: Engine, data: Path, configure: Configure, export: Export, shown: Shown
) -> None:
    """By the mean of all who rated them; what comes later follows in the same file."""
    configure(NAME)
    rated(engine, 4, good := call("good"), call("fine"))
    rated(engine, 3, call("poor"))
    rated(engine, 5, mixed := call("mixed"))
    with transaction(engine) as session:
        for address, rating in (("ada@example.com", 2), ("bea@example.com", 4)):
            session.add(TrustFeedback(request_id=mixed.id, user_email=address, rating=rating))
    store(engine, [call("unrated")])
    for _ in range(3):
        export()
    assert questions(data) == ["good", "fine"]
    rated(engine, 5, call("later"))
    with transaction(engine) as session:
        session.add(TrustFeedback(request_id=good.id, rating=5))
    export()
    assert written(data)[2] == {
        "messages": [{"role": "user", "content": "later"}, {"role": "assistant", "content": "hi"}]
    }
    [file] = shown()["files"]
    path = data / file["file"]
    assert (file["calls"], file["bytes"], file["form"], file["present"]) == (3, path.stat().st_size, "openai", True)
    assert (shown()["written"], shown()["full"], path.stat().st_mode & 0o777) == (3, False, 0o600)


def test_lowering_the_bar_looks_at_old_ratings_again(
    engine: Engine, data: Path, configure: Configure, export: Export
) -> None:
    """And nothing that is there already is written twice."""
    configure(NAME)
    rated(engine, 4, call("good"))
    rated(engine, 3, call("fair"))
    with transaction(engine) as session:
        session.execute(update(TrustFeedback).values(created_at=now() - timedelta(hours=2)))
    export()
    with transaction(engine, write=False) as session:
        assert session.scalar(select(TrainingSearch.reached)) == session.scalar(select(func.max(TrustFeedback.id)))
    configure(NAME, min_rating=3)
    export()
    assert questions(data) == ["good", "fair"]


def test_a_call_rated_before_it_is_stored_is_found(
    engine: Engine, data: Path, configure: Configure, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may be quicker than the recorder, or change their mind, whatever was looked at since."""
    monkeypatch.setattr(choosing, "BATCH", 1)
    configure(NAME)
    quick, changed = call("quick"), call("changed")
    with transaction(engine) as session:
        session.add(TrustFeedback(request_id=quick.id, rating=5))
    rated(engine, 1, changed)
    export()
    assert written(data) == []
    store(engine, [quick])
    with transaction(engine) as session:
        session.add(TrustFeedback(request_id=changed.id, rating=5))
    export()
    assert sorted(questions(data)) == ["changed", "quick"]


@SQLITE
def test_only_whole_answers_in_words_are_written(
    engine: Engine, data: Path, configure: Configure, export: Export
) -> None:
    """Not what was cut, called tools, held an image, ended early, or is not kept."""
    configure(NAME)
    whole = call("whole")
    image = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
    }
    tools = {"choices": [{"finish_reason": "tool_calls", "message": {"tool_calls": [{"id": "1"}], "content": None}}]}
    early = {"choices": [{"finish_reason": "length", "message": {"content": "I wanted to say"}}]}
    rated(
        engine,
        5,
        call("none", request_body=None, response_body=None),
        call("no answer", response_body=None),
        call("large " * 100_000),
        call("cut", response_body=(whole.response_body or b"")[:-9]),
        call("image", request_body=orjson.dumps(image)),
        call("tools", response_body=orjson.dumps(tools)),
        call("early", response_body=orjson.dumps(early)),
        call("silent", ""),
        call("failed", status="error", http_status=502),
        whole,
    )
    export()
    assert questions(data) == ["whole"]


SAID = [
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "1", "tool_calls": None},
    {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "two?"}]},
]
FORMS = {
    "openai": {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "And\n\ntwo?"},
            {"role": "assistant", "content": "hi"},
        ]
    },
    "sharegpt": {
        "conversations": [
            {"from": "system", "value": "Be kind."},
            {"from": "human", "value": "One?"},
            {"from": "gpt", "value": "1"},
            {"from": "human", "value": "And\n\ntwo?"},
            {"from": "gpt", "value": "hi"},
        ]
    },
    "alpaca": {
        "instruction": "And\n\ntwo?",
        "input": "",
        "output": "hi",
        "system": "Be kind.",
        "history": [["One?", "1"]],
    },
}


@SQLITE
@pytest.mark.parametrize("form", FORMS)
def test_lines_have_the_form_that_is_set(
    engine: Engine, data: Path, configure: Configure, export: Export, form: str
) -> None:
    """Whole conversations; calls of Anthropic's form as well."""
    configure(NAME, format=form)
    claude = {"system": "Be kind.", "messages": [{**one, "tool_calls": None} for one in SAID[1:]]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}
    other = call(request_body=orjson.dumps(claude), response_body=orjson.dumps(answer))
    rated(engine, 5, call(request_body=orjson.dumps({"messages": SAID})), other)
    export()
    assert written(data) == [FORMS[form]] * 2


@SQLITE
def test_another_form_and_a_full_file_begin_another_one(
    engine: Engine, data: Path, configure: Configure, export: Export, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads a file finds one form in it; none is larger than it may be."""
    configure(NAME, max_rows=2)
    rated(engine, 5, *(call(f"q{at}") for at in range(5)))
    export()
    assert [file["calls"] for file in shown()["files"]] == [1, 2, 2]
    configure(NAME, max_rows=2, format="sharegpt")
    rated(engine, 5, call("other"))
    export()
    assert [(file["calls"], file["form"]) for file in shown()["files"]][:2] == [(1, "sharegpt"), (1, "openai")]
    monkeypatch.setattr(turn, "LARGEST_FILE", 200)
    rated(engine, 5, *(call("long " * 20) for _ in range(3)))
    export()
    assert [file["calls"] for file in shown()["files"]][:4] == [1, 1, 1, 1]


@SQLITE
def test_files_that_are_taken_away_are_not_written_again(
    engine: Engine, data: Path, configure: Configure, export: Export, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their calls are done with; while nobody takes any and there are too many, nothing is lost and nothing written."""
    configure(NAME)
    rated(engine, 5, call("first"))
    export()
    monkeypatch.setattr(turn, "MOST_BYTES", 10)
    rated(engine, 5, call("second"))
    export()
    assert (questions(data), shown()["full"]) == (["first"], True)
    (data / shown()["files"][0]["file"]).rename(data / "taken.jsonl")
    export()
    assert questions(data) == ["second"]
    assert [(file["present"], file["calls"]) for file in shown()["files"]] == [(True, 1), (False, 1)]


def test_what_can_not_be_chosen_again_is_forgotten(
    engine: Engine, data: Path, configure: Configure, export: Export, shown: Shown
) -> None:
    """Once its file was taken and its bodies are gone; until then it would be written a second time."""
    configure(NAME, max_rows=1)
    rated(engine, 5, call("gone"), call("kept"), call("there"))
    export()
    for file in shown()["files"][1:]:
        (data / file["file"]).unlink()
    with transaction(engine) as session:
        session.execute(delete(TraceBody).where(TraceBody.seq.in_([1, 3])))
    for _ in range(2):
        export()
        turn.Sweep(engine)(Context("s", threading.Event(), lambda: False, lambda _, step: step()))
    with transaction(engine, write=False) as session:
        assert session.scalars(select(TrainingCall.seq).order_by(TrainingCall.seq)).all() == [2, 3]
    assert questions(data) == ["there"]


def test_what_tells_of_people_is_taken_out(
    people: People, engine: Engine, data: Path, configure: Configure, export: Export
) -> None:
    """Of questions and answers, each value under one name; what the one who asked is called, too, and keys."""
    configure(NAME)
    user = people.make("kim@example.com", name="Kimberly Zzyzx")
    question = (
        "My name is Ada Lovelace, ada@example.com or +4915112345679, 12 Baker Street, card 4111 1111 1111 1111, "
        "IBAN DE89 3704 0044 0532 0130 00, at 192.0.2.7, SSN 078-05-1120. Key sk-proj-0123456789abcdef. "
        "ada@example.com!"
    )
    rated(engine, 5, call(question, "Dear Ada, bob@example.com and ada@example.com. Zzyzx.", user_id=user.id))
    export()
    [line] = written(data)
    asked, said = (message["content"] for message in line["messages"])
    told = ("Ada", "Lovelace", "@", "49151", "Baker", "4111", "DE89", "192.0", "078-05", "sk-proj", "Zzyzx")
    assert not [word for word in told if word in asked + said]
    assert said == "Dear [NAME_2], [EMAIL_2] and [EMAIL_1]. [NAME_1]."
    assert "[EMAIL_1] or [PHONE_1], [ADDRESS_1], card [PAYMENT_1], IBAN [PAYMENT_2], at [IP_ADDRESS_1]" in asked
    assert asked.endswith("SSN [SSN_1]. Key [redacted]. [EMAIL_1]!")


@SQLITE
def test_an_operator_may_keep_texts_as_they_are(
    engine: Engine, data: Path, configure: Configure, export: Export
) -> None:
    """Where what is written is nobody's."""
    configure(NAME, redact=False)
    rated(engine, 5, call("Ask ada@example.com"))
    export()
    assert questions(data) == ["Ask ada@example.com"]


def test_a_worker_killed_between_file_and_database_leaves_each_call_once(
    engine: Engine, data: Path, configure: Configure, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines nobody knows of are left out the next time, whether the file was new or not."""
    configure(NAME)
    for name in ("first", "second"):
        rated(engine, 5, call(name))
        with monkeypatch.context() as patch:
            patch.setattr(turn, "_row", killed)
            with pytest.raises(KeyboardInterrupt):
                export()
        assert questions(data)[-1] == name  # whole, and not yet known
        export()
        export()
    assert questions(data) == ["first", "second"]


@SQLITE
def test_what_a_killed_worker_left_goes_with_its_user(
    people: People, engine: Engine, data: Path, configure: Configure, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file, or a line, of which nobody knows must not outlive who said what is in it."""
    configure(NAME, max_rows=1)
    rated(engine, 5, call("first"))
    export()
    user = people.make()
    rated(engine, 5, call("theirs", user_id=user.id))
    with monkeypatch.context() as patch:
        patch.setattr(turn, "_row", killed)
        with pytest.raises(KeyboardInterrupt):
            export()
    assert questions(data) == ["first", "theirs"]
    here = people.by_cookie(value_of(cookies_of(people.login())["outsend_session"]))
    assert here.request("DELETE", "/api/auth/account", json={"password": PASSWORD}).status_code == 204
    configure(NAME, enabled=False)
    export()
    assert questions(data) == ["first"]


def killed(*_: Any) -> Json:
    """Where the process ends."""
    raise KeyboardInterrupt


@SQLITE
def test_a_worker_killed_while_it_writes_leaves_the_file_as_it_was(
    engine: Engine, data: Path, configure: Configure, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half line; and its draft does not stay for ever."""
    configure(NAME)
    rated(engine, 5, call("first"))
    export()
    rated(engine, 5, call("second"))
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            export()
    assert questions(data) == ["first"]
    configure(NAME, enabled=False)
    export()
    assert (questions(data), list((data / files.FOLDER).glob(".*"))) == (["first"], [])
    configure(NAME)
    export()
    assert (questions(data), list((data / files.FOLDER).glob(".*"))) == (["first", "second"], [])


def test_a_user_who_goes_takes_their_lines_along(
    people: People, engine: Engine, data: Path, configure: Configure, export: Export, shown: Shown
) -> None:
    """At the next turn, though the module is off by then; others' lines stay, alike as they may be."""
    configure(NAME)
    user = people.make()
    rated(engine, 5, call("same", user_id=user.id), call("same"), call("mine", user_id=user.id), call("other"))
    export()
    configure(NAME, enabled=False)
    here = people.by_cookie(value_of(cookies_of(people.login())["outsend_session"]))
    told = json.loads(here.get("/api/auth/export").content)["training_data"]
    assert [row["number"] for row in told] == [1, 1]
    assert here.request("DELETE", "/api/auth/account", json={"password": PASSWORD}).status_code == 204
    export()
    assert sorted(questions(data)) == ["other", "same"]
    assert shown()["files"][0]["calls"] == 2


def test_what_is_wiped_is_taken_out_of_the_files(
    engine: Engine, data: Path, configure: Configure, export: Export, shown: Shown
) -> None:
    """Past the age that the operator set; a file of which nothing is left goes."""
    configure(NAME, max_rows=1)
    configure("retentionwipe", max_age="7d")
    rated(engine, 5, call("old", created_at=micros(now() - timedelta(days=8))), call("new"))
    with transaction(engine) as session:  # rated in time
        assert session.scalar(select(func.count()).select_from(TrustFeedback)) == 2
    export()
    Wiping(engine, pause_s=0)(Context("w", threading.Event(), lambda: False, lambda _, step: step()))
    export()
    assert questions(data) == ["new"]
    assert [(file["calls"], file["present"]) for file in shown()["files"]] == [(1, True), (0, False)]


def test_workers_at_once_write_each_call_once(
    engine: Engine, data: Path, configure: Configure, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was thought dead goes on beside its successor."""
    monkeypatch.setattr(choosing, "BATCH", 5)
    configure(NAME)
    rated(engine, 5, *(call(f"q{at}") for at in range(30)))
    at_once(*(export for _ in range(3)))
    export()
    assert sorted(questions(data)) == sorted(f"q{at}" for at in range(30))


@SQLITE
def test_what_is_off_writes_nothing(engine: Engine, data: Path, configure: Configure, export: Export) -> None:
    """Nor remembers anything; once it is on, what was rated before is found."""
    rated(engine, 5, call("before"))
    export()
    configure(NAME, enabled=False)
    export()
    with transaction(engine, write=False) as session:
        assert session.scalar(select(func.count()).select_from(TrainingCall)) == 0
    assert not (data / files.FOLDER).exists()
    configure(NAME)
    export()
    assert questions(data) == ["before"]


def test_calls_through_the_lane_are_written(
    ask: Ask, user: Caller, data: Path, configure: Configure, traces: Callable[..., list[Json]], export: Export
) -> None:
    """Plain and streamed, in the words that went each way."""
    configure(NAME)
    answers = [ask(MODEL, "sing", stream=stream) for stream in (False, True)]
    for answer in answers:
        said = {"trace_id": answer.headers["x-stockyard-trace-id"], "rating": 5}
        assert user.post(FEEDBACK, json=said).status_code == 201
    traces(2)
    export()
    heard = [[("user", "sing"), ("assistant", text_of(answer))] for answer in answers]
    assert [[(one["role"], one["content"]) for one in line["messages"]] for line in written(data)] == heard


def test_many_stored_calls_are_not_looked_through(engine: Engine) -> None:
    """Feedback finds its calls by index, and is looked at a batch at a time."""
    store(engine, [call(request_id=f"r{at}", request_body=None, response_body=None) for at in range(20_000)])
    with transaction(engine) as session:
        session.add_all(TrustFeedback(request_id=f"r{at}", rating=5) for at in range(1_000))
    asked = choosing.fresh(500, 600)
    assert not scans(plan_of(engine, asked), "traces")


@SQLITE
@pytest.mark.parametrize("config", [{"format": "csv"}, {"min_rating": 6}, {"max_rows": 0}, {"redact": "yes"}])
def test_bad_settings_are_refused(admin: Caller, config: Json) -> None:
    """By the schema, before anything is stored."""
    assert admin.put(f"/api/proxy/modules/{NAME}", json={"enabled": True, "config": config}).status_code == 400
