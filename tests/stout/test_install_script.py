"""The install script, run by a real shell against a real server: a machine becomes a box that is online."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from support import preloaded
from support.servers import Server, environment

Json = dict[str, Any]
CONFIG, AGENT = "etc/lager/control_plane.json", "usr/local/sbin/stout-agent"
KEYS, UNIT = "etc/lager/authorized_keys.d/stout-users.pub", "etc/systemd/system/stout-agent.service"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
WITHIN_S = 1.0

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the script fetches with curl")


class Owner:
    """Somebody who owns an org on a running server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        arguments = ["--data", server.data, "users", "create", "ada@example.com", "--verified", "--json"]
        made = preloaded.run(arguments, environment(), server.data)
        login = {"email": "ada@example.com", "password": json.loads(made.stdout)["password"]}
        self._token = server.request("POST", "/api/auth/login", json=login).json()["accessToken"]
        me = self.ask("GET", "/api/auth/me").json()
        self.org = f"/api/orgs/{me['memberships'][0]['org']['id']}"

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request with the access token."""
        return self.server.request(method, path, self._token, **options)

    def register(self) -> Json:
        """A new box and its setup."""
        made = self.ask("POST", f"{self.org}/boxes", json={"name": "bench-1", "ipAddress": "192.0.2.17"})
        assert made.status_code == 201, made.text
        found: Json = made.json()
        return found

    def box(self, made: Json) -> Json:
        """The box as it is now."""
        found: Json = self.ask("GET", f"{self.org}/boxes/{made['box']['id']}").json()
        return found


@pytest.fixture
def owner(server: Server) -> Owner:
    """An owner on a server of this test."""
    return Owner(server)


def run(setup: Json, root: Path, shell: str = "sh") -> subprocess.CompletedProcess[str]:
    """The setup's command, as a shell carries it out, but with another root and without sudo."""
    command = setup["command"].replace("sudo sh", f"STOUT_ROOT={root} {shell}")
    return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_one_command_makes_a_machine_a_box(owner: Owner, tmp_path: Path, shell: str) -> None:
    """The key is kept where only root reads it, and the box is online before the command ends."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    owner.ask("POST", "/api/auth/ssh-keys", json={"name": 'a "name" {', "publicKey": f'{SSH_KEY} "me" {{at}} home'})
    made = owner.register()
    done = run(made["setup"], tmp_path, shell)
    assert done.returncode == 0, done.stderr
    config = tmp_path / CONFIG
    held = json.loads(config.read_text())
    assert held["url"] == owner.server.base_url
    assert held["enabled"] is True
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert (tmp_path / KEYS).read_text().startswith(SSH_KEY)
    assert len((tmp_path / KEYS).read_text().splitlines()) == 1
    assert "ExecStart=/usr/local/sbin/stout-agent" in (tmp_path / UNIT).read_text()
    seen = owner.box(made)
    assert (seen["status"], seen["agentVersion"]) == ("online", "1")
    assert seen["hardware"]["memoryBytes"] % 1024 == 0
    assert seen["apiKeyPrefix"] == held["api_key"][:12]
    assert held["api_key"] not in done.stdout + done.stderr


def test_the_agent_goes_on_telling(owner: Owner, tmp_path: Path) -> None:
    """Each beat is one more heartbeat, without a new enrolment."""
    made = owner.register()
    run(made["setup"], tmp_path)
    first = owner.box(made)["lastHeartbeatAt"]
    subprocess.run(["/bin/sh", str(tmp_path / AGENT), "once"], env=_at(tmp_path), check=True, timeout=60)
    assert owner.box(made)["lastHeartbeatAt"] > first
    heartbeats = owner.ask("GET", f"{owner.org}/boxes/{made['box']['id']}/heartbeats").json()
    assert heartbeats["total"] == 2


def test_a_spent_token_changes_nothing(owner: Owner, tmp_path: Path) -> None:
    """The command says so and fails; the box that was set up first goes on."""
    setup, script = owner.register()["setup"], tmp_path / "script"
    script.write_text(owner.server.request("GET", "/api/box/install-stout", params={"token": setup["token"]}).text)
    assert run(setup, tmp_path).returncode == 0
    kept = (tmp_path / CONFIG).read_text()
    done = subprocess.run(  # the script as it was fetched in time, run too late
        ["/bin/sh", str(script)], env=_at(tmp_path), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "ask for a new setup" in done.stderr
    assert (tmp_path / CONFIG).read_text() == kept


def _at(root: Path) -> dict[str, str]:
    return {"STOUT_ROOT": str(root), "PATH": "/usr/local/bin:/usr/bin:/bin"}


def test_a_rotated_key_ends_in_every_worker_within_a_second(serve: Callable[..., Server]) -> None:
    """Workers remember keys for a minute; a new one reaches them all sooner than that."""
    owner = Owner(serve(workers=2, rate_limits="off"))
    made = owner.register()
    body = {"token": made["setup"]["token"]}
    control = owner.server.request("POST", "/api/box/enroll", json=body).json()["controlPlane"]
    old = {"X-API-Key": control["api_key"]}
    assert {_me(owner, old) for _ in range(40)} == {200}
    answer = owner.ask("POST", f"{owner.org}/boxes/{made['box']['id']}/rotate-api-key").json()
    time.sleep(WITHIN_S)
    assert {_me(owner, old) for _ in range(40)} == {401}
    assert {_me(owner, {"X-API-Key": answer["apiKey"]}) for _ in range(40)} == {200}


def _me(owner: Owner, headers: dict[str, str]) -> int:
    """Each on a connection of its own: any worker may take it."""
    return owner.server.request("GET", "/api/box/me", headers=headers).status_code
