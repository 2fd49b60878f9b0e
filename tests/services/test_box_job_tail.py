"""What those who follow a job's log are woken for."""

from __future__ import annotations

from datetime import UTC, datetime

from app.services.box_jobs.frames import Frame
from app.services.box_jobs.tail import Stand, Tail

AT = datetime(2026, 11, 22, tzinfo=UTC)


async def test_the_end_is_told_though_it_came_with_the_last_line() -> None:
    """A look that finds both leaves it to the next one to know that no line is left: that is news, too."""
    tail = Tail(1)
    tail.see(Stand(1, "u", "running", AT, None, 0), [], 0)
    over = Stand(1, "u", "completed", AT, 0, 1)
    assert tail.see(over, [Frame(7, 0, b"data: c")], None)
    assert not tail.is_over()
    waiting = tail.news
    assert not tail.see(over, [], None)
    assert tail.is_over()
    assert waiting.is_set()
