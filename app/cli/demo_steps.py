"""What the demo asks of its server: each step one request, as a client would send it, held to what must come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import requests

from app.cli.demo_server import DemoError

Json = dict[str, Any]
CHAT = "/v1/chat/completions"
EMAIL = "visitor@localhost.example"
TIMEOUT_S = 30
WIDTH = 60
QUESTION = [{"role": "user", "content": "What does a yard master do?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass(frozen=True, slots=True)
class Step:
    """One request: `told` turns its answer into a few words, and raises LookupError when it is not what it must be."""

    name: str
    method: str
    path: str
    body: Json
    told: Callable[[requests.Response], str]
    admin: bool = False
    status: int = 200


class Visitor:
    """Sends the steps, first as the operator, then as a user made for it; `taken` is what came of each."""

    def __init__(self, base_url: str, admin_key: str) -> None:
        self._base_url = base_url
        self._admin_key = admin_key
        self._user_key = ""
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the environment is not for loopback
        self.taken: list[Json] = []

    def take(self, step: Step) -> None:
        """Send one step; DemoError when the answer is not what the step promises."""
        began = time.perf_counter()
        response = self._send(step.method, step.path, admin=step.admin, json=step.body)
        text = response.text  # the whole of a stream, too
        took = round((time.perf_counter() - began) * 1_000, 1)
        try:
            told = step.told(response) if response.status_code == step.status else ""
        except (LookupError, ValueError, TypeError):
            told = ""
        if not told:
            raise DemoError(f"{step.name}: {step.method} {step.path} answered {response.status_code}: {text[:200]}")
        if step.path == "/api/auth/users":
            self._user_key = response.json()["api_key"]["key"]
        trace = response.headers.get("x-stockyard-trace-id")
        said = {"name": step.name, "method": step.method, "path": step.path, "status": response.status_code}
        self.taken.append(said | {"answer": told, "ms": took, "trace_id": trace})

    def get(self, path: str, **query: Any) -> Any:
        """What the operator reads at a path."""
        response = self._send("GET", path, admin=True, params=query)
        if not response.ok:
            raise DemoError(f"GET {path} answered {response.status_code}: {response.text[:200]}")
        return response.json()

    def _send(self, method: str, path: str, *, admin: bool, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self._admin_key if admin else self._user_key}"}
        return self._session.request(method, self._base_url + path, headers=headers, timeout=TIMEOUT_S, **options)


def _text(response: requests.Response) -> str:
    return _short(response.json()["choices"][0]["message"]["content"])


def _streamed(response: requests.Response) -> str:
    *chunks, last = _events(response.text)
    if last != "[DONE]":
        raise ValueError(last)
    deltas = [choice["delta"].get("content") or "" for c in chunks for choice in orjson.loads(c)["choices"]]
    return f"{len(chunks)} chunks: {_short(''.join(deltas), WIDTH - 12)}"


def _events(text: str) -> Iterator[str]:
    """The data of server-sent events."""
    return (line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: "))


def _called(response: requests.Response) -> str:
    called = response.json()["choices"][0]["message"]["tool_calls"][0]["function"]
    return f"{called['name']}({called['arguments']})"


def _embedded(response: requests.Response) -> str:
    vectors = [item["embedding"] for item in response.json()["data"]]
    return f"{len(vectors)} vectors of {len(vectors[0])} numbers"


def _failed(response: requests.Response) -> str:
    return _short(response.json()["error"]["message"])


def _cached(response: requests.Response) -> str:
    if response.headers["x-stockyard-cache"] != "HIT":
        raise ValueError("it was not answered from the cache")
    return f"from the cache, for ${response.headers['x-stockyard-cost']}"


def _short(text: str, width: int = WIDTH) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."


def _chat(model: str, **more: Any) -> Json:
    return {"model": model, "messages": QUESTION} | more


STEPS = (
    Step(
        "make a user with a key",
        "POST",
        "/api/auth/users",
        {"email": EMAIL},
        lambda r: f"user {r.json()['user']['id']}, {r.json()['user']['email']}",
        admin=True,
        status=201,
    ),
    Step("ask a model", "POST", CHAT, _chat("gpt-4o-mini"), _text),
    Step("stream an answer", "POST", CHAT, _chat("gpt-4o", stream=True), _streamed),
    Step("let a model call a tool", "POST", CHAT, _chat("claude-sonnet-4-5", tools=[TOOL]), _called),
    Step(
        "embed two texts", "POST", "/v1/embeddings", {"model": "text-embedding-3-small", "input": ["a", "b"]}, _embedded
    ),
    Step("ask one that is down", "POST", CHAT, _chat("sandbox-fail-503"), _failed, status=502),
    Step(
        "switch the cache on",
        "PUT",
        "/api/proxy/modules/cachelayer",
        {"enabled": True},
        lambda r: {True: "cachelayer is on, from the next request"}[r.json()["enabled"]],
        admin=True,
    ),
    Step("ask once more", "POST", CHAT, _chat("gpt-4o-mini"), _text),
    Step("ask the same again", "POST", CHAT, _chat("gpt-4o-mini"), _cached),
)
