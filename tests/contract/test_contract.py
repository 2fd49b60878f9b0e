"""The document is the truth: a running server, fuzzed from its own document, surprises nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from app.gateway.config import url_variable
from app.gateway.providers import PROVIDERS
from app.spec.weave import METHODS
from support.servers import COMMAND, Server, environment, running

EXAMPLES = int(os.environ.get("YARDMASTER_TEST_EXAMPLES", "8"))
# One seed, so that a change is judged and not chance; a nightly run chooses others, and more examples.
SEED = os.environ.get("YARDMASTER_TEST_SEED", "20261121")
ADMIN = "sy_admin_" + "c" * 43
FUZZING = Path(__file__).with_name("fuzzing.py")
PHASES = "examples,coverage,fuzzing,stateful"


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with limits off, open to sign-up, whose providers all lead nowhere."""
    with running(tmp_path_factory.mktemp("contract")) as start:
        nowhere = {url_variable(p): "http://127.0.0.1:9/v1" for p in PROVIDERS.values() if p.key_env}
        quiet = {"log_level": "warning", "log_format": "json"}
        yield start(rate_limits="off", admin_key=ADMIN, variables=nowhere, preloaded=False, **quiet)


@pytest.mark.contract
@pytest.mark.timeout(1500)
def test_the_server_keeps_its_word(
    fuzzed: Server, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """All checks, all phases, every operation: no finding, and no operation left out."""
    report = tmp_path / "events.ndjson"
    served = requests.get(f"{fuzzed.base_url}/api/openapi.json", timeout=10)
    document = tmp_path / "openapi.json"  # from a file: the fuzzer spares the address it reads a document from
    document.write_bytes(served.content)
    result = subprocess.run(
        _command(fuzzed, document, report), env=_environment(fuzzed), cwd=tmp_path, capture_output=True, check=False
    )
    known = {f"{m.upper()} {p}" for p, item in served.json()["paths"].items() for m in item if m in METHODS}
    cases = {operation: count for operation, count in _cases(report).items() if operation in known}
    record_property("contract", f"{len(cases)} of {len(known)} operations, {sum(cases.values())} cases")
    assert result.returncode == 0, result.stdout.decode()[-20_000:]
    assert known - cases.keys() == set()
    assert _locked(report) & known == set(), "operations the fuzzer was never let into"


def _command(server: Server, document: Path, report: Path) -> list[str]:
    program = str(Path(sys.executable).with_name("schemathesis"))
    chosen = ["--phases", PHASES, "--mode", "all", "--max-examples", str(EXAMPLES), "--seed", SEED]
    held = [
        "--checks",
        "all",
        "--exclude-checks",
        "positive_data_acceptance,negative_data_rejection,not_a_server_error,ensure_resource_availability",
    ]  # as fuzzing.py has them
    told = ["--report", "ndjson", "--report-ndjson-path", str(report), "--no-color", "--warnings", "off"]
    bounds = ["--workers", "2", "--request-timeout", "20", "--suppress-health-check", "all"]
    return [program, "run", str(document), "--url", server.base_url, *chosen, *held, *told, *bounds]


def _environment(server: Server) -> dict[str, str]:
    hooks = {"SCHEMATHESIS_HOOKS": str(FUZZING), "PYTHONPATH": str(FUZZING.parent)}
    ours = {"BASE_URL": server.base_url, "ADMIN_KEY": ADMIN, "COMMAND": str(COMMAND), "DATA": str(server.data)}
    return environment() | hooks | {f"CONTRACT_{name}": value for name, value in ours.items()}


def _locked(report: Path) -> set[str]:
    """Operations that only ever answered 401 or 403: nothing behind the door was looked at."""
    statuses: dict[str, set[int]] = {}
    for event in _events(report):
        recorder = event.get("ScenarioFinished", {}).get("recorder", {})
        for name, exchange in recorder.get("interactions", {}).items():
            case = recorder["cases"].get(name)
            if case and exchange.get("response"):
                operation = f"{case['value']['method']} {case['value']['path']}"
                statuses.setdefault(operation, set()).add(exchange["response"]["status_code"])
    return {operation for operation, seen in statuses.items() if seen <= {401, 403, 405}}


def _events(report: Path) -> Iterator[dict[str, Any]]:
    with report.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _cases(report: Path) -> Counter[str]:
    """How many cases were sent to each operation."""
    sent: Counter[str] = Counter()
    for event in _events(report):
        for case in event.get("ScenarioFinished", {}).get("recorder", {}).get("cases", {}).values():
            sent[f"{case['value']['method']} {case['value']['path']}"] += 1
    return sent
