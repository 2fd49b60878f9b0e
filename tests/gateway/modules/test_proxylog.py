"""One line for each call, where a collector finds it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from support.callers import Client

# What it does does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
SECRET = "sk-proj-" + "a1B2" * 8


@pytest.fixture
def lines(client: Client) -> Callable[[int], list[str]]:
    """`lines(n)`: the lines of the file, once there are `n`."""
    file = client.application.runtime.settings.data / "proxy.log"

    def read(count: int) -> list[str]:
        deadline = time.monotonic() + 5
        while True:
            found = file.read_text().splitlines() if file.exists() else []
            if len(found) >= count:
                assert len(found) == count
                assert file.stat().st_mode & 0o077 == 0
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    return read


@BOTH
def test_a_call_is_a_line(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, lines: Any, stream: bool
) -> None:
    """With who called, what it cost and how it ended; without what was said, unless that is wanted."""
    configure("proxylog", target="file")
    answer = ask(MODEL, f"my key is {SECRET}", stream=stream, headers={"X-Project": "trains"})
    upstream.script("gpt-4o", {"status": 400, "error": {"message": f"no {SECRET}"}})
    ask("gpt-4o", stream=stream)
    good, bad = map(json.loads, lines(2))
    assert good["id"] == answer.headers["x-stockyard-trace-id"]
    told = {"provider": "openai", "model": MODEL, "status": "ok", "http_status": 200, "stream": stream}
    told |= {"project": "trains", "user_id": 1, "tokens_in": 20, "tokens_out": 10, "cost_usd": 9e-06}
    assert {name: good[name] for name in told} == told
    assert (bad["status"], bad["http_status"], bad["model"]) == ("error", 400, "gpt-4o")
    assert SECRET not in bad["error"]
    assert not {"request", "response"} & {*good, *bad}
    configure("proxylog", target="file", bodies=True)
    ask(MODEL, f"my key is {SECRET}", stream=stream)
    full = json.loads(lines(3)[-1])
    assert "my key is [redacted]" in full["request"]
    assert "track four" in full["response"]
    assert client.admin.get("/api/proxy/modules/proxylog").json()["stats"] == {"written": 3, "lost": 0}


def test_a_line_has_the_form_that_is_wanted(ask: Ask, configure: Configure, lines: Any) -> None:
    """And stays one line, whatever a caller writes."""
    headers = {"X-Project": "a b", "User-Agent": 'me "and" you', "X-Stockyard-Tags": '{"team": "x\\ny z=1"}'}
    configure("proxylog", target="file", format="logfmt")
    ask(MODEL, headers=headers)
    configure("proxylog", target="file", format="combined")
    ask(MODEL, headers=headers)
    first, second = lines(2)
    assert f" provider=openai model={MODEL} status=ok http_status=200 stream=false " in first
    assert ' project="a b" tags=' in first
    assert re.fullmatch(
        r'127\.0\.0\.1 - user:1 \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "POST /v1/chat/completions HTTP/1\.1" 200 '
        r'\d+ "-" "me \\"and\\" you"',
        second,
    )


def test_lines_may_go_to_the_standard_output(
    ask: Ask, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a container's collector reads them."""
    configure("proxylog")
    answer = ask(MODEL)
    deadline, seen = time.monotonic() + 5, ""
    while answer.headers["x-stockyard-trace-id"] not in seen:
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
        seen += capsys.readouterr().out
    assert json.loads(seen)["model"] == MODEL


def test_what_cannot_be_written_is_counted_and_stops_no_call(ask: Ask, configure: Configure, client: Client) -> None:
    """Nor the lines after it."""
    (client.application.runtime.settings.data / "proxy.log").mkdir()
    configure("proxylog", target="file")
    assert ask(MODEL).status_code == 200
    deadline = time.monotonic() + 5
    while client.admin.get("/api/proxy/modules/proxylog").json()["stats"] != {"written": 0, "lost": 1}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
