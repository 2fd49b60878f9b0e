"""The client that openapi-python-client makes of the served document: whole, typed, and at work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.servers import Server

Run = Callable[..., str]
Promised = Callable[..., None]
# What it makes of `items: {}` has casts that are no news to mypy, which says so in its strict mode. Nothing of our own
# settings may count.
STRICT = ["--config-file=", "--strict", "--disable-error-code", "redundant-cast", "--cache-dir"]

pytestmark = pytest.mark.xdist_group("clients")  # one process installs the tools, and no other finds half of them


def test_the_client_is_whole_typed_and_does_its_work(
    run: Run, python_bin: Path, yard: Server, made: Path, promised: Promised
) -> None:
    """Not one warning, so nothing was left out; mypy passes in strict mode; every answer and refusal is of its type."""
    address = f"{yard.base_url}/api/openapi.json"
    how = ["--meta", "none", "--config", "generator.yaml", "--fail-on-warning", "--overwrite"]
    generate = [python_bin / "openapi-python-client", "generate", "--url", address]
    run(*generate, *how, "--output-path", made / "yardmaster_client")
    mypy = [python_bin / "mypy", *STRICT, python_bin / ".mypy_cache"]
    run(*mypy, made / "yardmaster_client", "scenario.py", MYPYPATH=made)
    promised("python", python_bin / "python", "scenario.py", PYTHONPATH=made)
