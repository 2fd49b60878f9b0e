"""A headless browser, driven over W3C WebDriver: it runs the page's scripts under the page's own rules."""

from __future__ import annotations

import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from support.servers import free_port

DRIVER, CHROMIUM = shutil.which("chromedriver"), shutil.which("chromium")
MISSING = "chromium and chromedriver are not installed (apt-get install chromium chromium-driver)"
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1300,1600"]
WAITS_S = 20.0


class Browser:
    """One window. Scripts are JavaScript bodies; what they return comes back."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Go there, as if for the first time; what was complained of before is forgotten."""
        self._post("url", url="about:blank")
        self.complaints()
        self._post("url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self._post("execute/sync", script=script, args=list(arguments))

    def until(self, script: str, *arguments: Any) -> Any:
        """Run a script until it returns something true; AssertionError when it never does."""
        deadline = time.monotonic() + WAITS_S
        while time.monotonic() < deadline:
            if found := self.run(script, *arguments):
                return found
            time.sleep(0.05)
        raise AssertionError(f"never true in the page: {script}\n{self.run('return document.body.innerText')[:2000]}")

    def complaints(self) -> list[str]:
        """What the browser logged as wrong: errors of scripts, blocked and failed requests."""
        return [entry["message"] for entry in self._post("se/log", type="browser") if entry["level"] == "SEVERE"]

    def picture(self) -> bytes:
        """What it looks like, as a PNG."""
        response = requests.get(f"{self._session}/screenshot", timeout=30)
        return b64decode(response.json()["value"])

    def _post(self, command: str, **body: Any) -> Any:
        response = requests.post(f"{self._session}/{command}", json=body, timeout=30)
        assert response.ok, response.text
        return response.json()["value"]


@contextmanager
def browser() -> Iterator[Browser]:
    """A window, closed at the end."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(base)
        options = {"binary": CHROMIUM, "args": ARGUMENTS}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = requests.post(f"{base}/session", json={"capabilities": {"alwaysMatch": wanted}}, timeout=60)
        assert made.ok, made.text
        session = f"{base}/session/{made.json()['value']['sessionId']}"
        yield Browser(session)
        requests.delete(session, timeout=30)
    finally:
        process.terminate()
        process.wait(10)


def _await(base: str) -> None:
    deadline = time.monotonic() + WAITS_S
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{base}/status", timeout=1).json()["value"]["ready"]:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError("chromedriver did not start")
