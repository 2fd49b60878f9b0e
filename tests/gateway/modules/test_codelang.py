"""Code in answers parses in the language it claims, or the model is asked again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL, text_of
from gateway.upstream import Upstream
from support.callers import Client
from support.envelopes import Refusals

# What it does does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
GOOD = "Here:\n```python\nprint('hi')\n```\nand\n```json\n{}\n```"
BAD = "Here:\n```json\n{}\n```\nand\n```py\nprint('hi'\n```"


def stats(client: Client) -> dict[str, int]:
    """What the module counted."""
    return dict(client.admin.get("/api/proxy/modules/codelang").json()["stats"])


@BOTH
def test_a_model_is_asked_again_for_code_that_parses(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, traces: Traces, stream: bool
) -> None:
    """With what was wrong; both answers are paid for, and the caller sees the good one."""
    upstream.script(MODEL, {"text": BAD}, {"text": BAD}, {"text": GOOD})
    assert text_of(ask(MODEL, stream=stream)) == BAD
    configure("codelang")
    answer = ask(MODEL, stream=stream)
    assert (text_of(answer), "x-stockyard-warning" in answer.headers) == (GOOD, False)
    *_, said, hint = upstream.seen(MODEL)[-1]["body"]["messages"]
    assert said == {"role": "assistant", "content": BAD}
    assert hint["content"].startswith("The python code in that answer does not parse: line 1: '(' was never closed")
    assert [row["tokens_in"] for row in traces(2)] == [20, 40]
    assert stats(client) == {"parsed": 3, "broken": 1, "again": 1, "failed": 0}


@BOTH
def test_what_still_does_not_parse_is_marked_or_refused(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, refused: Refusals, stream: bool
) -> None:
    """As the operator chose; only the languages that are checked count, and no other text."""
    upstream.script(MODEL, {"text": BAD})
    configure("codelang", max_retries=0)
    answer = ask(MODEL, stream=stream)
    assert (text_of(answer), answer.headers["x-stockyard-warning"]) == (BAD, "codelang")
    configure("codelang", action="refuse")
    told = refused(ask(MODEL, stream=stream), 502)["error"]["details"]
    assert told["reason"] == "codelang"
    assert told["fault"].startswith("The python code in that answer does not parse: line 1")
    configure("codelang", languages=["json"], action="refuse")
    assert text_of(ask(MODEL, stream=stream)) == BAD
    assert stats(client)["failed"] == 2


def test_what_is_no_chat_is_left_alone(ask: Ask, configure: Configure, upstream: Upstream, client: Client) -> None:
    """Vectors have no code, and a call for tools has no words."""
    configure("codelang", action="refuse")
    vectors = {"model": "text-embedding-3-small", "input": BAD}
    assert client.user.post("/v1/embeddings", json=vectors).status_code == 200
    upstream.script(MODEL, {"tools": 1})
    assert ask(MODEL).status_code == 200
