"""The metrics: right over all workers, in the form Prometheus reads, bounded, for those who may, and nearly free."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from timeit import timeit
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from app.gateway.wire import Kind, Usage
from app.observe.exposition import COUNTER, HISTOGRAM, Family, render
from app.observe.meter import BOUNDS_US, MOST_SERIES, CallMeter, RequestMeter, observe
from app.services.metrics.shared import Shared, folded
from support.callers import Caller, Client
from support.envelopes import Refusals
from support.servers import Server

CHAT = {"model": "sandbox", "messages": [{"role": "user", "content": "hello"}]}
OPEN = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, ...], float]


@dataclass(slots=True)
class Settled:
    """As much of an exchange as is counted."""

    model: str = "m"
    provider: str = "openai"
    kind: Kind = Kind.CHAT
    status: str = "ok"
    usage: Usage | None = None
    cost_nano: int | None = 5
    saved_nano: int = 0
    attempts: int = 1
    elapsed_us: int = 900
    first_byte_us: int | None = None


def samples(text: str, read: Callable[[str], Any] = plain_families) -> dict[str, Samples]:
    """Every sample by name, then by the values of its labels, in the order of the labels' names."""
    found: dict[str, Samples] = {}
    for family in read(text):
        for sample in family.samples:
            key = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[key] = sample.value
    return found


class Line:
    """A kept-alive connection: every request on it is answered by the same worker."""

    def __init__(self, server: Server) -> None:
        self.server, self._session = server, requests.Session()
        self.worker = self._session.get(server.base_url + "/api/status", headers=self._key()).json()["worker"]

    def _key(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.server.admin_key}"}

    def chat(self, **fields: Any) -> None:
        """A model call."""
        self._session.post(f"{self.server.base_url}/v1/chat/completions", json=CHAT | fields, headers=self._key())

    def scrape(self) -> dict[str, Samples]:
        """What is told without a key, from this machine."""
        return samples(self._session.get(self.server.base_url + "/metrics").text)

    def close(self) -> None:
        """Hang up."""
        self._session.close()


def two_workers(server: Server) -> tuple[Line, Line]:
    """A connection to each."""
    found: dict[int, Line] = {}
    for _ in range(200):
        line = Line(server)
        found.setdefault(line.worker, line)
        if len(found) == 2:
            first, second = found.values()
            return first, second
    raise AssertionError("all connections went to one worker")


def settled(line: Line, calls: int) -> dict[str, Samples]:
    """A scrape that has them all: the other worker tells every second."""
    deadline = time.monotonic() + 5
    while True:
        found = line.scrape()
        if sum(found["yardmaster_gateway_calls_total"].values()) >= calls or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_sums_are_right_over_workers_and_never_fall(serve: Callable[..., Server]) -> None:
    """Whichever worker is asked, and whichever dies: what falls looks like a reset, and doubles a rate."""
    server = serve(workers=2, rate_limits="off")
    here, there = two_workers(server)
    for _ in range(3):
        here.chat()
    for _ in range(5):
        there.chat(stream=True)
    here.chat(model="")
    told = settled(here, 8)
    calls, key = told["yardmaster_gateway_calls_total"], ("sandbox", "chat", "sandbox", "ok")
    assert calls == {key: 8.0}
    assert settled(there, 8)["yardmaster_gateway_calls_total"] == calls
    requests_ = told["yardmaster_http_requests_total"]
    assert (requests_["create_chat_completion", "2xx"], requests_["create_chat_completion", "4xx"]) == (8, 1)
    assert told["yardmaster_http_request_duration_seconds_count"][("create_chat_completion",)] == 9
    assert told["yardmaster_gateway_call_duration_seconds_bucket"]["+Inf", "chat", "sandbox"] == 8
    assert told["yardmaster_gateway_time_to_first_token_seconds_count"]["chat", "sandbox"] == 5
    assert told["yardmaster_gateway_input_tokens_total"][key] > 0
    assert (told["yardmaster_workers"][()], told["yardmaster_database_up"][()]) == (2, 1)
    os.kill(there.worker, signal.SIGKILL)
    after = settled(here, 8)
    assert after["yardmaster_gateway_calls_total"] == calls
    here.close()
    server.stop()
    again = Line(serve(data=server.data, rate_limits="off"))
    again.chat()
    assert sum(settled(again, 9)["yardmaster_gateway_calls_total"].values()) == sum(calls.values()) + 1


def test_both_forms_are_read_by_the_official_parser(admin: Caller) -> None:
    """The older text by default, OpenMetrics on demand; they say the same."""
    admin.post("/v1/chat/completions", json=CHAT)
    plain, opened = admin.get("/metrics"), admin.get("/metrics", headers={"accept": OPEN})
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert opened.headers["content-type"].startswith(OPEN)
    one, other = samples(plain.text), samples(opened.text, open_families)
    assert one.keys() == other.keys()
    for name in ("yardmaster_gateway_calls_total", "yardmaster_gateway_cost_dollars_total", "yardmaster_build_info"):
        assert one[name] == other[name]
        assert one[name]


def case(setting: str, caller: str, status: int, **headers: str) -> Any:
    """A caller with these headers, while the setting is so."""
    return pytest.param(caller, status, headers, marks=pytest.mark.settings(metrics=setting), id=f"{setting}-{caller}")


@pytest.mark.parametrize(
    ("caller", "status", "headers"),
    [
        case("local", "anonymous", 200),
        case("local", "anonymous", 401, **{"x-forwarded-for": "198.51.100.7"}),
        case("local", "user", 403, forwarded="for=198.51.100.7"),
        case("local", "admin", 200, via="1.1 proxy"),
        case("admin", "anonymous", 401),
        case("admin", "admin", 200),
        case("public", "anonymous", 200, **{"x-forwarded-for": "198.51.100.7"}),
        case("off", "admin", 404),
    ],
)
def test_who_may_read_them(
    client: Client, refused: Refusals, caller: str, status: int, headers: dict[str, str]
) -> None:
    """They tell how much is spent on what: the operator says who sees it."""
    answer = getattr(client, caller).get("/metrics", headers=headers)
    assert answer.status_code == status
    if status != 200:
        refused(answer, status, {401: "unauthorized", 403: "forbidden", 404: "not_found"}[status])


def test_callers_cannot_make_series_without_end() -> None:
    """Names of models are theirs to choose; what is beyond the bound is still counted, as `other`."""
    meter = CallMeter()
    for number in range(3 * MOST_SERIES):
        meter.count(Settled(model=f"made-up-{number}"))
    assert len(meter.calls) <= MOST_SERIES + 1
    assert sum(held[0] for held in meter.calls.values()) == 3 * MOST_SERIES
    many = {f'["p","m{n}","chat","ok"]': [n + 1, 2] for n in range(1_000)}
    kept = folded(many, 10, (1,), "other")
    assert sum(held[0] for held in kept.values()) == sum(held[0] for held in many.values())
    assert '["p","other","chat","ok"]' in kept
    assert len(kept) == 11


def test_what_dead_workers_counted_is_kept_once(tmp_path: Path) -> None:
    """Whoever notices first, and however often one looks."""
    dead, left, lives = Shared(tmp_path), Shared(tmp_path), Shared(tmp_path)
    for number, worker in enumerate((dead, left, lives), start=1):
        worker.open()
        worker.tell({"counted": {"calls": {'["a"]': [number]}}})
    os.close(dead._alive or 0)
    left.close({"counted": {"calls": {'["a"]': [20]}}})
    for _ in range(3):
        counted, living = lives.gather()
        assert counted == {"calls": {'["a"]': [1 + 20 + 3]}}
        assert len(living) == 1


def test_counting_costs_a_call_well_under_two_microseconds() -> None:
    """Both counters of a call together, at the best of many runs: the machine may be busy, the code may not be slow."""
    calls, answered, exchange = CallMeter(), RequestMeter(), Settled(usage=Usage(3, output=5), first_byte_us=800)

    def count() -> None:
        calls.count(exchange)
        answered.answered("create_chat_completion", 200, 1_000)

    assert min(timeit(count, number=2_000) / 2_000 for _ in range(50)) < 2e-6


LABELS = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n"), max_size=8)


@given(st.dictionaries(st.tuples(LABELS), st.integers(0, 2**53)), st.lists(st.integers(0, 10**9), max_size=20))
def test_any_label_and_any_value_survive(counts: dict[tuple[str, ...], int], took: list[int]) -> None:
    """A model's name is whatever a caller wrote."""
    series: dict[tuple[str, ...], list[int]] = {}
    for value in took:
        observe(series, ("x",), value)
    families = [
        Family("a_thing", COUNTER, "Told.", ("model",), counts),
        Family("b_seconds", HISTOGRAM, "Told.", ("p",), series),
    ]
    for open_metrics, read in ((False, plain_families), (True, open_families)):
        found = samples(render(families, open_metrics=open_metrics).decode(), read)
        assert found.get("a_thing_total", {}) == counts
        if took:
            assert found["b_seconds_count"] == {("x",): len(took)}
            buckets = found["b_seconds_bucket"]
            assert buckets["+Inf", "x"] == len(took)
            below = f"{BOUNDS_US[3] / 1e6:g}", "x"
            assert buckets[below] == sum(value <= BOUNDS_US[3] for value in took)
