"""The pace of a stream: never faster than its rate after its burst, and slow by no more than it must."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.modules.streamthrottle import Throttle

PIECES = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 400)), min_size=1, max_size=40)


@given(PIECES, st.integers(1, 50), st.integers(1, 100))
def test_no_more_than_the_burst_and_the_rate_is_ever_sent(
    pieces: list[tuple[float, int]], rate: int, burst: int
) -> None:
    """Whatever the provider's own pace; and whoever keeps to the rate is never held back."""
    now, waited = [100.0], [0.0]

    def count(seconds: float) -> None:
        waited[0] += seconds

    throttle = Throttle(rate, burst, count, lambda: now[0])
    sent, total = 0.0, 0.0
    for pause, characters in pieces:
        now[0] += pause
        wait = throttle.wait({"choices": [{"delta": {"content": "x" * characters}}]})
        total += wait
        now[0] += wait
        sent += characters / 4
        assert sent <= burst + rate * (now[0] - 100.0) + 1e-6
    assert abs(waited[0] - total) < 1e-6
    assert total <= max(0.0, (sent - burst) / rate) + sum(pause for pause, _ in pieces) + 1e-6


def test_tool_calls_and_thoughts_are_read_too() -> None:
    """Everything a model writes is part of its pace; roles and ends are not."""
    throttle = Throttle(1, 1, lambda _: None, lambda: 0.0)
    assert throttle.wait({"choices": [{"delta": {"role": "assistant"}, "finish_reason": None}]}) == 0
    call = {"index": 0, "id": "call_1", "function": {"arguments": "x" * 8}}
    assert throttle.wait({"choices": [{"delta": {"tool_calls": [call]}}]}) == 1
    assert throttle.wait({"choices": [{"delta": {"reasoning_content": "x" * 4}}]}) == 2
