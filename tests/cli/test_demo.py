"""`yardmaster demo`: the first thing a newcomer runs must work anywhere, cost nothing and leave nothing behind."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from support.servers import COMMAND, environment


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the demo makes its directories; nothing may be left in it, nor any process that works in it."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def start(place: Path, *options: str, **more: str) -> subprocess.Popen[str]:
    """The demo as its own process."""
    environ = environment() | {"TMPDIR": str(place), "COLUMNS": "140"} | more
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([str(COMMAND), "demo", *options], env=environ, cwd=place.parent, **pipes)


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and errors, once it has ended."""
    output, errors = process.communicate(timeout=110)
    return process.returncode, output, errors


def left_behind(place: Path) -> list[str]:
    """Directories in the place, and processes that were told of one."""
    files = [str(path) for path in place.iterdir()]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(place) in command:
            files.append(command)
    return files


def test_the_demo_tells_what_was_asked_recorded_and_spent(place: Path) -> None:
    """In JSON, for whoever checks an installation: every call has its trace, and the sums are those of the traces."""
    code, output, errors = outcome(start(place, "--json"))
    assert code == 0, errors
    told = json.loads(output)
    calls = [r for r in told["requests"] if r["path"].startswith("/v1/")]
    assert [r["status"] for r in calls] == [200, 200, 200, 200, 502, 200, 200]
    assert [r["trace_id"] for r in calls] == [t["id"] for t in told["traces"]]
    assert [t["status"] for t in told["traces"]] == ["ok"] * 4 + ["error", "ok", "cache_hit"]
    spent = sum(t["cost_usd"] for t in told["traces"])
    assert spent > 0
    assert told["costs"]["total_usd"] == pytest.approx(spent)
    assert told["traces"][-1]["saved_usd"] == told["traces"][-2]["cost_usd"] > 0
    assert not left_behind(place)


def test_the_demo_shows_tables(place: Path) -> None:
    """For a person: what happened, what it cost, where to go from here."""
    code, output, errors = outcome(start(place))
    assert code == 0, errors
    for part in ("/v1/chat/completions", "cache_hit", "get_weather", "GET /api/observe/costs", "yardmaster serve"):
        assert part in output
    assert "9 requests answered as they should be" in output
    assert not left_behind(place)


def test_no_provider_is_called_whatever_the_environment_holds(place: Path) -> None:
    """A newcomer with a key in the shell must not pay for a look around."""
    with socket.create_server(("127.0.0.1", 0)) as vendor:
        url = f"http://127.0.0.1:{vendor.getsockname()[1]}/v1"
        keys = {"OPENAI_API_KEY": "sk-a-real-key-of-somebody", "OPENAI_BASE_URL": url}
        code, output, errors = outcome(start(place, "--json", **keys, YARDMASTER_DATABASE_URL="postgresql://x"))
        vendor.setblocking(False)
        with pytest.raises(BlockingIOError):
            vendor.accept()
    assert code == 0, errors
    assert "sk-a-real-key" not in output + errors


def test_a_kept_server_runs_until_it_is_told(place: Path) -> None:
    """The key it prints works; Ctrl-C is its proper end."""
    process = start(place, "--keep")
    base, key = printed(process, r"goes on at (http://127\.0\.0\.1:\d+)"), printed(process, r"(sy_admin_[\w-]+)")
    assert requests.get(f"{base}/api/docs", timeout=10).ok
    assert requests.get(f"{base}/api/auth/users", headers={"Authorization": f"Bearer {key}"}, timeout=10).ok
    assert left_behind(place)
    process.send_signal(signal.SIGINT)
    code, _, errors = outcome(process)
    assert code == 0, errors
    assert not left_behind(place)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{base}/health", timeout=10)


def printed(process: subprocess.Popen[str], pattern: str) -> str:
    """The first thing like this in the output still to come."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found.group(1)
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_demo_leaves_nothing_behind(place: Path, number: int) -> None:
    """Whoever stops it half way must not have to look for a server on some port."""
    process = start(place)
    deadline = time.monotonic() + 30
    while not list(place.glob("yardmaster-demo-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    code, _, errors = outcome(process)
    assert code == 1
    assert "Traceback" not in errors
    assert not left_behind(place)


def test_a_server_that_does_not_start_is_explained(place: Path) -> None:
    """In the server's own words, with exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, errors = outcome(start(place, "--port", str(taken.getsockname()[1])))
    assert code == 1
    assert "cannot listen on 127.0.0.1" in errors
    assert "Traceback" not in errors
    assert not left_behind(place)
