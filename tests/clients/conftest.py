"""What generators and linters need: the served document, their tools, and somebody new to call as."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from support import preloaded
from support.servers import Server, environment, running
from support.toolbox import npm_tools, python_tools

Json = dict[str, Any]
Run = Callable[..., str]
Promised = Callable[..., None]
ROOM = Path(__file__).parent
NUMBER = count(1)


@pytest.fixture(scope="session")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose only provider is the sandbox."""
    with running(tmp_path_factory.mktemp("yard")) as start:
        yield start(rate_limits="off")


@pytest.fixture(scope="session")
def served(yard: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document as the server serves it."""
    path = tmp_path_factory.mktemp("served") / "openapi.json"
    path.write_bytes(yard.request("GET", "/api/openapi.json").content)
    return path


@pytest.fixture(scope="session")
def workshop(pytestconfig: pytest.Config) -> Path:
    """A folder beside the source that later runs find again, with a copy of the scenarios: imports find the tools."""
    folder = Path(pytestconfig.cache.mkdir("clients"))
    for room in ("node", "python"):
        shutil.copytree(ROOM / room, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def node_tools(workshop: Path) -> Path:
    """Commands on Node, installed once and kept."""
    return npm_tools(workshop)


@pytest.fixture(scope="session")
def python_bin(workshop: Path) -> Path:
    """Commands on Python, installed once and kept: of other versions than our own, and beside them."""
    return python_tools(workshop / "venv", workshop / "requirements.txt")


@pytest.fixture
def made(request: pytest.FixtureRequest, workshop: Path) -> Path:
    """An empty folder of this module for what its generator makes."""
    folder = workshop / "made" / request.path.stem.removeprefix("test_")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def asked(yard: Server) -> str:
    """What a scenario is told: where the server is, its keys, and an operator who may sign in."""
    email = f"client{next(NUMBER)}@example.com"
    arguments = ["--data", yard.data, "users", "create", email, "--admin", "--verified", "--json"]
    person = json.loads(preloaded.run(arguments, environment(), yard.data).stdout)
    keys = {"admin_key": yard.admin_key, "user_key": yard.user_key}
    return json.dumps({"base": yard.base_url, **keys, "email": email, "password": person["password"]})


@pytest.fixture(scope="session")
def run(workshop: Path) -> Run:
    """Runs a command there, and answers what it wrote; AssertionError with all of its words when it fails."""

    def done(*command: str | Path, **variables: str | Path) -> str:
        around = os.environ | {"REDOCLY_TELEMETRY": "off"} | {name: str(text) for name, text in variables.items()}
        ended = subprocess.run(command, cwd=workshop, env=around, capture_output=True, timeout=240, check=False)
        assert ended.returncode == 0, (ended.stdout + ended.stderr).decode()[-4000:]
        return ended.stdout.decode()

    return done


@pytest.fixture
def promised(run: Run, asked: str) -> Promised:
    """Runs a scenario and asserts what every client sees; its key, project, org and traces are named after it."""

    def check(name: str, *scenario: str | Path, **how: Any) -> None:
        said: Json = json.loads(run(*scenario, asked, **how))
        assert said["health"] == "ok"
        assert (said["gateway"]["name"], said["gateway"]["models"]) == (name, 1)
        assert "This is the sandbox" in said["gateway"]["said"]
        assert said["traces"] == {"total": 3, "seen": [f"{name}-{number}" for number in (2, 1, 0)]}
        assert said["desk"] == {"same": True, "state": "in_progress", "deleted": 204, "gone": "NOT_FOUND"}
        assert said["fleet"] == {"at": "2001:db8::17", "ended": [204, 204], "gone": 404}
        assert said["refused"] == {"status": 401, "code": "unauthorized"}

    return check
