"""The servers put side by side: how each is installed, started as its users start it, and asked for a completion."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.processes import ROOT, Server, free_port, spawn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOME = ROOT / "bench" / ".peers"
MODEL = "gpt-4o-mini"
JSON = {"Content-Type": "application/json"}
INSTALL_LIMIT = 900
START_LIMIT = 90.0


@dataclass(slots=True)
class Target:
    """Where and how one server is asked for a completion, and what it is."""

    name: str
    server: Server
    version: str
    path: str = "/v1/chat/completions"
    model: str = MODEL
    headers: dict[str, str] | None = None
    page: tuple[str, str] | None = None  # the path of a page of stored calls, and the key that may read it

    @property
    def url(self) -> str:
        """The URL of its chat completions."""
        return self.server.url + self.path

    @property
    def all_headers(self) -> dict[str, str]:
        """Content type and credentials."""
        return JSON | (self.headers or {"Authorization": "Bearer bench"})


def say(text: str) -> None:
    """Progress, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def run(*command: str, cwd: Path | None = None) -> str:
    """Run an installer or a version query to its end. Raises CalledProcessError."""
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=INSTALL_LIMIT)
    return done.stdout.strip()


# Its range admits a @hono/node-server with which every stream fails ("TypeError: immutable", Portkey-AI/gateway#1389).
PORTKEY = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "^1.15.2"},
    "overrides": {"@hono/node-server": "1.14.1"},
}


def node_package(folder: str, package: str, manifest: dict[str, Any]) -> Path:
    """A package installed by npm under HOME from a manifest; its folder."""
    home = HOME / folder
    found = home / "node_modules" / package
    if not found.exists():
        say(f"installing {package} …")
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text(json.dumps(manifest))
        run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=home)
    return found


def python_package(folder: str, requirement: str) -> Path:
    """A requirement installed by pip in a virtual environment under HOME; its bin folder."""
    binaries = HOME / folder / "bin"
    name = requirement.partition("[")[0]
    if not list(HOME.glob(f"{folder}/lib/*/site-packages/{name}")):
        say(f"installing {requirement} …")
        run(sys.executable, "-m", "venv", str(HOME / folder))
        run(str(binaries / "pip"), "install", "-q", requirement)
    return binaries


def python_version(binaries: Path, package: str) -> str:
    """The version of a package in a virtual environment."""
    return run(str(binaries / "python"), "-c", f"from importlib.metadata import version; print(version('{package}'))")


def start_upstream(work: Path, name: str = "direct", **options: float) -> Target:
    """bench.upstream with options by their command-line name, e.g. `interval_ms=20`."""
    port = free_port()
    flags = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "bench.upstream", "--port", str(port), *flags]
    server = spawn(name, command, port, work / f"{name}.log").ready("/health", START_LIMIT)
    return Target(name, server, "bench.upstream")


def start_portkey(upstream: str, work: Path) -> Target:
    """Portkey's open gateway on Node in production mode, its routing given per request as its documents say."""
    package, port = node_package("portkey", "@portkey-ai/gateway", PORTKEY), free_port()
    command = ["node", str(package / "build" / "start-server.js"), f"--port={port}", "--headless"]
    server = spawn("portkey", command, port, work / "portkey.log", {"NODE_ENV": "production"}).ready("/", START_LIMIT)
    headers = {"Authorization": "Bearer bench", "x-portkey-provider": "openai", "x-portkey-custom-host": upstream}
    version = json.loads((package / "package.json").read_text())["version"]
    return Target("portkey", server, version, headers=headers)


def start_litellm(upstream: str, work: Path) -> Target:
    """LiteLLM's proxy with one worker, a master key and no database."""
    binaries, port, key = python_package("litellm", "litellm[proxy]"), free_port(), f"sk-{secrets.token_urlsafe(24)}"
    parameters = {"model": f"openai/{MODEL}", "api_base": upstream, "api_key": "bench"}
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": key},
    }
    file = work / "litellm.yaml"
    file.write_text(json.dumps(config))
    command = [str(binaries / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    server = spawn("litellm", [*command, "--num_workers", "1"], port, work / "litellm.log", env)
    server.ready("/health/liveliness", START_LIMIT)
    return Target("litellm", server, python_version(binaries, "litellm"), headers={"Authorization": f"Bearer {key}"})


TENSORZERO = """
[gateway]
observability.enabled = false
[models.{model}]
routing = ["upstream"]
[models.{model}.providers.upstream]
type = "openai"
model_name = "{model}"
api_base = "{upstream}/"
api_key_location = "none"
"""


def start_tensorzero(upstream: str, work: Path) -> Target:
    """TensorZero's Rust gateway, observability off; it chooses its own port and has no health path, so 404 is ready."""
    binaries, file = python_package("tensorzero", "tensorzero"), work / "tensorzero.toml"
    file.write_text(TENSORZERO.format(model=MODEL, upstream=upstream))
    command = [str(binaries / "python"), str(ROOT / "bench" / "tensorzero_host.py"), str(file)]
    server = spawn("tensorzero", command, 0, work / "tensorzero.log")
    server.port = announced_port(server)
    server.ready("/health", START_LIMIT, status=http.client.NOT_FOUND)
    path, model = "/openai/v1/chat/completions", f"tensorzero::model_name::{MODEL}"
    return Target("tensorzero", server, python_version(binaries, "tensorzero"), path, model)


def announced_port(server: Server) -> int:
    """The port a server printed; 1, where nothing listens, when it printed none in time."""
    while time.perf_counter() - server.spawned < START_LIMIT and server.process.poll() is None:
        if found := re.search(r"listening on http://[^:/]+:(\d+)", server.log.read_text(errors="replace")):
            return int(found[1])
        time.sleep(0.01)
    return 1


STARTERS: dict[str, Callable[[str, Path], Target]] = {
    "portkey": start_portkey,
    "litellm": start_litellm,
    "tensorzero": start_tensorzero,
}
