"""The served document under others' linters: nothing to complain of, be it an error or a warning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]

pytestmark = pytest.mark.xdist_group("clients")  # one process installs the tools, and no other finds half of them


def test_redocly_finds_nothing(run: Run, node_tools: Path, served: Path) -> None:
    """Its recommended rules; they read what stands in schemas more closely than validators do."""
    found = run(node_tools / "redocly", "lint", "--config", "redocly.yaml", "--format", "json", served)
    assert [(p["ruleId"], p["message"], p["location"][0]["pointer"]) for p in json.loads(found)["problems"]] == []


def test_spectral_finds_nothing(run: Run, node_tools: Path, served: Path) -> None:
    """Its rules for OpenAPI, but for those that `spectral.yaml` switches off with a reason."""
    how = ["--ruleset", "spectral.yaml", "--format", "json", "--quiet", "--fail-severity", "error"]
    found = run(node_tools / "spectral", "lint", *how, served)
    assert [(p["code"], p["message"], p["path"]) for p in json.loads(found)] == []
