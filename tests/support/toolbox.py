"""Tools of others that tests install once and keep in a folder Git ignores: npm's, and Python's apart from our own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

NPM = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--prefer-offline"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
INSTALLS_WITHIN_S = 240


def npm_tools(room: Path) -> Path:
    """The folder of the commands that `room/package.json` pins; without Node, npm or a registry the test is skipped."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs node and npm")
    kept = room / "node_modules"
    if not _is_fresh(kept, room / "package.json"):
        _install(NPM, room)
        _remember(kept, room / "package.json")
    return kept / ".bin"


def python_tools(kept: Path, pins: Path) -> Path:
    """The folder of the commands of an environment with these requirements; skipped where none can be made."""
    if not _is_fresh(kept, pins):
        shutil.rmtree(kept, ignore_errors=True)
        _install([sys.executable, "-m", "venv", "--without-pip", str(kept)], pins.parent)
        _install([*PIP, "--python", str(kept / "bin" / "python"), "install", "-q", "-r", str(pins)], pins.parent)
        _remember(kept, pins)
    return kept / "bin"


def _is_fresh(kept: Path, pins: Path) -> bool:
    """Whether what is kept was installed whole, and by these pins."""
    mark = kept / ".installed"
    return mark.exists() and mark.read_text() == pins.read_text()


def _remember(kept: Path, pins: Path) -> None:
    (kept / ".installed").write_text(pins.read_text())


def _install(command: Sequence[str], room: Path) -> None:
    done = subprocess.run(command, cwd=room, capture_output=True, timeout=INSTALLS_WITHIN_S, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]} could not install the tools: {done.stderr.decode()[-300:]}")
