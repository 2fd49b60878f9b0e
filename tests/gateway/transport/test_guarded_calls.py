"""A user's own base URL through the whole server: looked at when it is stored, and again for every connection."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import select as query

from app.factory import Application
from app.services.provider_keys import Brought, save
from models.base import session, transaction
from models.identity import User
from support.callers import Caller

MESSAGE = {"role": "assistant", "content": "At noon."}
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
ASKED: dict[str, Any] = {"model": "groq/m", "messages": [{"role": "user", "content": "When?"}]}


def bring(application: Application, base_url: str) -> None:
    """Store a key of the first user with a base URL that was looked at in better days."""
    runtime = application.runtime
    with transaction(runtime.engine, write=True):
        owner = session().scalars(query(User.id).order_by(User.id)).first()
        assert owner is not None
        save(owner, "groq", Brought("gsk_secret", base_url), runtime.secrets)
    runtime.changed()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A private service of the house."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def model_server() -> Iterator[int]:
    """The port of a model server in the house."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(ANSWER).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_users_private_address_is_refused_and_not_called(
    application: Application, user: Caller, refused: Any, listener: socket.socket, host: str, stream: bool
) -> None:
    """A name may be public when it is stored and private when it is called; the user is told, the key stays here."""
    bring(application, f"http://{host}:{listener.getsockname()[1]}/v1")
    for _ in range(2):
        body = refused(user.post("/v1/chat/completions", json=ASKED | {"stream": stream}), 400, "bad_request")
        assert "groq: its host must resolve to public addresses only" in body["error"]["message"]
    assert select.select([listener], [], [], 0.05)[0] == []


@pytest.mark.settings(outbound_allow="127.0.0.1")
def test_an_allowed_address_is_called(application: Application, user: Caller, model_server: int) -> None:
    """The operator may open the house to its users."""
    bring(application, f"http://localhost:{model_server}/v1")
    answer = user.post("/v1/chat/completions", json=ASKED)
    assert answer.json()["choices"][0]["message"]["content"] == "At noon."
    assert answer.headers["x-stockyard-provider"] == "groq"


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch, model_server: int) -> None:
    """That server as the operator's own, named in the environment."""
    monkeypatch.setenv("GROQ_BASE_URL", f"http://localhost:{model_server}/v1")
    monkeypatch.setenv("GROQ_API_KEY", "gsk_operator")


def test_the_operators_own_address_may_be_anywhere(operators: None, user: Caller) -> None:
    """`GROQ_BASE_URL` is the operator's word; only users are kept out of the house."""
    assert user.post("/v1/chat/completions", json=ASKED).status_code == 200
