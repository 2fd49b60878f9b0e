"""The official Node SDKs of OpenAI and Anthropic work unchanged: plain, streamed, tools, refusals, broken streams."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.upstream import Upstream
from support.servers import Server

MODEL = "gpt-4o-mini"
TEXT = "The train on track four is due at noon."
ROOM = Path(__file__).with_name("node")
INSTALLED = ROOM / "node_modules" / ".package-lock.json"
INSTALL = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--prefer-offline"]
WIRES = ("messages", "responses", "chat")
Told = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.xdist_group("node")  # one process installs the packages, and no other finds half of them


@pytest.fixture(scope="session")
def sdks() -> None:
    """The packages, installed once and kept; without Node, npm or a registry these tests say so and are skipped."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs node and npm")
    if not INSTALLED.exists():
        installed = subprocess.run(INSTALL, cwd=ROOM, capture_output=True, timeout=240, check=False)
        if installed.returncode:
            pytest.skip(f"npm could not install the SDKs: {installed.stderr.decode()[-200:]}")


@pytest.fixture
def told(sdks: None, yard: Server, upstream: Upstream) -> Told:
    """What a scenario of `speak.mjs` made, or the error its SDK raised."""

    def run(scenario: str, model: str = MODEL, key: str = "") -> dict[str, Any]:
        asked = {"scenario": scenario, "base": yard.base_url, "key": key or yard.user_key, "model": model}
        command = ["node", "speak.mjs", json.dumps(asked)]
        done = subprocess.run(command, cwd=ROOM, capture_output=True, timeout=60, check=True)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return run


@pytest.mark.parametrize("wire", WIRES)
def test_plain_and_streamed_answers(told: Told, wire: str) -> None:
    """The same words and the same counts."""
    plain, streamed = (told(f"{wire} {how}")["made"] for how in ("plain", "stream"))
    assert plain["text"] == streamed["text"] == streamed["whole"] == TEXT
    assert (plain.get("stop"), plain.get("status")) == (streamed.get("stop"), streamed.get("status"))
    if wire != "chat":
        assert streamed["usage"]["input_tokens"] == plain["usage"]["input_tokens"] == 20
        assert streamed["usage"]["output_tokens"] == plain["usage"]["output_tokens"] == 10
        assert plain["id"]


@pytest.mark.parametrize("wire", ["messages", "responses"])
def test_tools_are_called_and_answered(told: Told, upstream: Upstream, wire: str) -> None:
    """Two calls, whose results go back in the next request."""
    upstream.script(MODEL, {"tools": 2}, {})
    made = told(f"{wire} tools")["made"]
    assert (made["inputs"], made["stop"], made["text"]) == ([{"city": "Bern"}] * 2, "tool_use", TEXT)
    sent = upstream.seen(MODEL)[1]["body"]["messages"]
    assert [(said["role"], said.get("tool_call_id")) for said in sent[1:]] == [
        ("assistant", None),
        ("tool", "call_0"),
        ("tool", "call_1"),
    ]


@pytest.mark.parametrize("wire", WIRES)
def test_refusals_and_broken_streams_are_the_sdks_own_errors(told: Told, upstream: Upstream, wire: str) -> None:
    """A bad key, a model nobody knows, half a stream."""
    bad = told(f"{wire} refused", key="sy_" + "x" * 43)
    assert (bad["error"], bad["status"]) == ("AuthenticationError", 401)
    upstream.script("gpt-none", {"status": 404, "error": {"message": "no such model", "code": "model_not_found"}})
    unknown = told(f"{wire} refused", "gpt-none")
    assert (unknown["error"], "no such model" in unknown["message"]) == ("NotFoundError", True)
    assert unknown["id"]
    upstream.script(MODEL, {"frames": 3, "pause": 0.05, "then": "reset"})
    broken = told(f"{wire} broken")
    assert broken["error"] in {"APIError", "InternalServerError"}
    assert "openai" in broken["message"]
