"""What a call was expected to cost, told before it is known what it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from support.callers import Client

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
HEADER, WARNING = "x-stockyard-predicted-cost", "x-stockyard-warning"


@BOTH
def test_a_call_says_what_it_was_expected_to_cost(
    ask: Ask, configure: Configure, client: Client, traces: Traces, stream: bool
) -> None:
    """What a budget holds for it, to the cent: more for a longer answer, and never less than it cost."""
    assert HEADER not in ask(MODEL, stream=stream).headers
    configure("costpredict")
    configure("costcap", daily_limit_usd=100)
    held: list[int] = []
    caps = client.application.runtime.gateway.caps
    settle = caps.settle
    caps.settle = lambda exchange: (held.append(caps.under_way[exchange.id].amount), settle(exchange))[1]
    small, large = (ask(MODEL, stream=stream, max_tokens=most) for most in (10, 10_000))
    told = [float(answer.headers[HEADER]) for answer in (small, large)]
    assert told == [pytest.approx(amount / 1e9, abs=1e-6) for amount in held]
    assert told[1] - told[0] == pytest.approx(9_990 * 0.6e-6, rel=0.05)
    rows = traces(3)
    assert told[0] > float(rows[1]["cost_nano"]) / 1e9 > 0
    assert "predicted_usd" in str(rows[1]["details"])


@BOTH
def test_a_dear_call_is_warned_of(ask: Ask, configure: Configure, client: Client, stream: bool) -> None:
    """Above the operator's line, under their header; a call without a price says nothing rather than 0."""
    configure("costpredict", header="X-Will-Cost", warn_above=0.001)
    dear, cheap = (ask(MODEL, stream=stream, max_tokens=most) for most in (10_000, 10))
    assert (dear.headers[WARNING], WARNING in cheap.headers) == ("costpredict", False)
    assert "x-will-cost" in dear.headers
    assert "x-will-cost" not in ask("house-model-nobody-prices", stream=stream).headers
    told = client.admin.get("/api/proxy/modules/costpredict").json()["stats"]
    assert told == {"told": 2, "unpriced": 1, "warned": 1}


def test_an_answer_nobody_was_asked_for_has_no_prediction(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """It costs nothing, and the cache says so already."""
    configure("costpredict")
    configure("cachelayer")
    assert HEADER in ask(MODEL).headers
    again = ask(MODEL)
    assert (again.headers["x-stockyard-cache"], HEADER in again.headers) == ("HIT", False)
    assert len(upstream.seen(MODEL)) == 1


@pytest.mark.parametrize("header", ["Content-Length", "X-Bad Name", "X-Split\r\nSet-Cookie"])
def test_a_header_that_would_break_answers_is_refused(client: Client, header: str) -> None:
    """Whatever is set there is sent with every answer."""
    answer = client.admin.put("/api/proxy/modules/costpredict", json={"config": {"header": header}})
    assert answer.status_code in {400, 422}, answer.text
    assert "header name such as" in answer.text
