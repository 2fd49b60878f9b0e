"""The top process: it records beside the workers, and behind them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from app.cli.supervisor import NICENESS
from support.deaths import children


def test_who_answers_goes_before_who_records(serve: Any) -> None:
    """On a busy machine a call must not wait for its core until a batch is stored; sessions are weighed first."""
    server = serve()
    (master,) = children(server.pid)
    above, below = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (server.pid, master))
    assert (above - below, os.getsid(master)) == (NICENESS, master)
    weight = Path(f"/proc/{server.pid}/autogroup")
    assert not weight.exists() or f"nice {NICENESS}" in weight.read_text()
