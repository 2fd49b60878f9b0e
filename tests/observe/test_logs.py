"""What the server writes about itself: enough to find a request by, and nothing a caller would not want read."""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.factory import Application, create
from app.observe import logs
from app.security.redact import REDACTED
from app.settings import Settings
from support import miniature
from support.callers import Client
from support.miniature.systems.things import Own

Json = dict[str, Any]
Lines = Callable[[], list[Json]]
KEY = "sk-proj-canaryCANARY0123456789"
PROMPT = "the quick brown canary"
log = logging.getLogger("yardmaster.test")


@contextmanager
def written(**chosen: Any) -> Iterator[io.StringIO]:
    """What is written under these settings; pytest's own arrangements come back afterwards."""
    root, ours, stream = logging.getLogger(), logging.getLogger("yardmaster"), io.StringIO()
    held = root.handlers[:], root.level, ours.level, threading.excepthook
    try:
        logs.configure(Settings(**chosen), stream)
        yield stream
    finally:
        root.handlers[:], root.level, level, threading.excepthook = held
        ours.setLevel(level)
        logging.captureWarnings(capture=False)


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The JSON lines written so far, at the default level."""
    with written(log_format="json") as stream:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture(scope="session")
def document() -> Json:
    """The miniature document: it has operations that fail."""
    return miniature.document()


@pytest.fixture
def application(settings: Settings, document: Json) -> Iterator[Application]:
    """The kernel over the miniature document and its own table."""
    made = create(settings, document, miniature.HANDLERS)
    Own.metadata.create_all(made.runtime.engine)
    yield made
    made.runtime.engine.dispose()


def access(lines: Lines) -> list[Json]:
    """The access lines alone."""
    return [line for line in lines() if line["logger"] == "yardmaster.access"]


def test_a_request_leaves_one_line_that_names_its_operation(client: Client, lines: Lines) -> None:
    """The person on call searches by request id, route, status and caller."""
    client.user.get("/stockyard/things", headers={"x-request-id": "mine-1"})
    [line] = access(lines)
    assert line["request_id"] == "mine-1"
    assert line["message"] == "GET /stockyard/things 200"
    assert (line["method"], line["route"], line["status"]) == ("GET", "/stockyard/things", 200)
    assert (line["operation"], line["principal"]) == ("list_things_stockyard", "user")
    assert isinstance(line["key_id"], int)
    assert line["client"] == "127.0.0.1"
    assert 0 < line["duration_ms"] < 60_000
    assert line["time"].endswith("Z")
    assert line["level"] == "info"


def test_what_a_caller_wrote_is_not_in_the_line(client: Client, lines: Lines) -> None:
    """Path, query, headers and body may hold keys and prompts; the route is the document's template."""
    body = {"name": PROMPT, "size": 1}
    client.user.post("/stockyard/things", json=body, params={"token": KEY}, headers={"x-note": PROMPT})
    client.user.get(f"/stockyard/names/{KEY}", params={"q": PROMPT})
    client.anonymous.get(f"/nowhere/{KEY}", params={"q": PROMPT}, headers={"authorization": f"Bearer {KEY}"})
    told = json.dumps(lines())
    assert len(access(lines)) == 3
    assert KEY not in told
    assert PROMPT not in told
    assert access(lines)[-1]["route"] == "unmatched"


@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_failure_is_told_without_the_secret_in_its_message(client: Client, level: str) -> None:
    """A database driver puts its whole URL into an exception; the log is read by more people than the vault."""
    with written(log_format="json", log_level=level) as stream:
        response = client.user.get("/stockyard/broken", headers={"x-request-id": "mine-2"})
    assert response.status_code == 500
    told = stream.getvalue()
    [failure] = [line for line in map(json.loads, told.splitlines()) if line["level"] == "error"]
    assert failure["request_id"] == "mine-2"
    assert "in break_down" in failure["exception"]
    assert "RuntimeError" in failure["exception"]
    assert "hunter2" not in told


def test_a_message_that_may_quote_the_caller_is_kept_for_debugging(lines: Lines) -> None:
    """An exception's message repeats the value it fell over; by default only its type and place are written."""
    for level, kept in (("info", False), ("debug", True)):
        with written(log_level=level) as stream:
            fail(PROMPT)
        assert (PROMPT in stream.getvalue()) is kept
        assert "ValueError" in stream.getvalue()


def fail(message: str) -> None:
    """One failure with a cause, logged."""
    try:
        try:
            {}[message]
        except KeyError as cause:
            raise ValueError(message) from cause
    except ValueError:
        log.exception("it failed")


def test_the_causes_of_a_failure_are_told(lines: Lines) -> None:
    """The last exception of a chain is seldom the reason."""
    fail(KEY)
    [line] = lines()
    assert line["exception"].index("KeyError") < line["exception"].index("which led to")
    assert line["exception"].endswith("ValueError")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=50), st.sampled_from(["text", "json"]))
def test_no_key_passes_in_message_arguments_fields_or_exceptions(around: str, form: str) -> None:
    """Whoever logs carelessly must not be able to leak a key, at any level."""
    with written(log_format=form, log_level="debug") as stream:
        log.warning("%s %s", around, KEY)
        log.info("sent %s", {"authorization": f"Bearer {KEY}"})
        log.info("fields", extra={"fields": {"note": f"{around} {KEY}", "api_key": "unprefixed-secret"}})
        fail(f"{around} {KEY}")
    assert KEY not in stream.getvalue()
    assert "unprefixed-secret" not in stream.getvalue()
    assert REDACTED in stream.getvalue()


def test_a_provider_key_of_the_environment_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many providers' keys look like any other word; the server knows its own."""
    monkeypatch.setenv("MISTRAL_API_KEY", "Zq81plainlookingword")
    with written() as stream:
        log.error("upstream said: Zq81plainlookingword is over its quota")
    assert "Zq81" not in stream.getvalue()
    assert "over its quota" in stream.getvalue()


def test_a_line_is_a_line(lines: Lines) -> None:
    """A line break in a message must not forge a second entry."""
    with written() as stream:
        log.warning("first\n2030-01-01T00:00:00.000Z INFO    access: GET /forged 200 \x1b[2J")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_record_that_cannot_be_formatted_does_not_fail_its_writer(form: str) -> None:
    """A wrong argument in a rare log call must not turn an answer into an error."""

    class Unprintable:
        def __str__(self) -> str:
            raise OSError(KEY)

    with written(log_format=form) as stream:
        log.warning("%d items", "many")
        log.warning("%s", Unprintable())
    assert stream.getvalue().count("a log line failed") == 2
    assert KEY not in stream.getvalue()


def test_other_peoples_loggers_are_quiet(lines: Lines) -> None:
    """Nobody runs this server to read its libraries' diaries; their warnings still count."""
    for name in ("alembic.runtime.migration", "connexion.options", "werkzeug", "urllib3", "uvicorn.error"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble")
    assert {line["message"] for line in lines()} == {"trouble"}


def test_the_http_server_cannot_repeat_what_the_gate_withheld(lines: Lines) -> None:
    """It writes the exception of an application into its own line."""
    logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=ValueError(PROMPT))
    [line] = lines()
    assert line["message"] == "Exception in ASGI application"
    assert PROMPT not in json.dumps(line)


def test_threads_and_warnings_speak_the_same_way(lines: Lines) -> None:
    """A thread that dies prints its exception by itself; that way would pass the redactor by."""

    def die() -> None:
        raise ValueError(KEY)

    thread = threading.Thread(target=die, name="recorder")
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(capture=True)
        warnings.warn(f"deprecated: {KEY}", DeprecationWarning, stacklevel=1)
    assert [line["logger"] for line in lines()] == ["yardmaster.threads", "py.warnings"]
    assert "recorder ended by ValueError" in lines()[0]["message"]
    assert KEY not in json.dumps(lines())


def test_model_calls_and_probes_are_silent_while_all_is_well(client: Client, lines: Lines) -> None:
    """A model call has its trace and a probe comes every second; a failure of either is told."""
    assert client.user.post("/gateway/echo", json={"name": "a", "size": 1}).is_success
    assert client.user.get("/stockyard/bulk").is_success
    assert not access(lines)
    client.anonymous.get("/gateway/things")
    assert [line["status"] for line in access(lines)] == [401]


def test_the_running_server_writes_json_and_no_secret(serve: Any, tmp_path: Path) -> None:
    """From the first line of every process on: what a log collector reads must parse, and be harmless."""
    server = serve(log_format="json", log_level="debug", rate_limits="off")
    question = {"model": "sandbox", "messages": [{"role": "user", "content": PROMPT}]}
    assert server.request("POST", "/v1/chat/completions", server.user_key, json=question).ok
    assert server.request("GET", f"/v1/models/{KEY}", server.user_key).status_code == 404
    assert server.request("POST", f"/v1/chat/completions?key={KEY}", KEY, json=question).status_code in {401, 502}
    assert server.stop() == 0
    told = server.log.read_text()
    entries = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    operations = {e.get("operation") for e in entries}
    assert {"create_chat_completion", "get_model"} <= operations
    assert any("ready" in e["message"] for e in entries)
    assert KEY not in told
    assert PROMPT not in told
    assert all(server.user_key not in json.dumps(entry) for entry in entries)
