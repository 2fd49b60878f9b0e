"""The agent and the server as real processes: a box enrols, runs real commands, and reports all of it."""

from __future__ import annotations

import base64
import json
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from support.box_jobs import Bench, Remote
from support.events import Event, read
from support.servers import COMMAND, Server, environment

OVER = {"completed", "failed", "cancelled", "timed_out"}


class Site:
    """A server with an org, and the agents of its boxes."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.remote = Remote(server)
        self.bench = Bench(self.remote)
        self.agents: list[subprocess.Popen[bytes]] = []
        answer = self.bench.owner.post(
            f"/api/orgs/{self.bench.org.uid}/boxes", json={"name": "rig", "ipAddress": "127.0.0.1"}
        )
        assert answer.status_code == 201, answer.text
        self.box_id, self.token = answer.json()["box"]["id"], answer.json()["setup"]["token"]
        self.key_file = folder / "box.json"
        self.said = folder / "agent.out"

    def start(self, *options: str, enrol: bool = False) -> subprocess.Popen[bytes]:
        """An agent of the box; `enrol` uses the token, later ones the key that was kept."""
        who = ["--url", self.server.base_url, "--token", self.token] if enrol else []
        command = [str(COMMAND), "box", "run", *who, "--key-file", str(self.key_file), "--json"]
        command += ["--folder", str(self.folder / "jobs"), *options]
        with self.said.open("ab") as out:
            agent = subprocess.Popen(command, stdout=out, stderr=out, env=environment(), cwd=self.folder)
        self.agents.append(agent)
        return agent

    def submit(self, **fields: Any) -> str:
        """A job for the box."""
        return str(self.bench.submit(boxId=self.box_id, **fields)["id"])

    def until(self, job_id: str, *states: str, within: float = 20) -> dict[str, Any]:
        """The job, once it is in one of these states."""
        deadline = time.monotonic() + within
        while (job := self.bench.look(job_id))["status"] not in states:
            assert time.monotonic() < deadline, f"{job}\n{self.said.read_text()}"
            time.sleep(0.05)
        return job

    def lines(self, job_id: str) -> list[tuple[str, str]]:
        """What the job wrote."""
        items = self.bench.owner.get(f"{self.bench.jobs}/{job_id}/logs", params={"limit": 100}).json()["items"]
        return [(line["stream"], line["line"]) for line in items]

    def follow(self, job_id: str) -> list[Event]:
        """The whole stream of the job."""
        url = f"{self.server.base_url}{self.bench.jobs}/{job_id}/logs/stream"
        with requests.get(url, headers=self.bench.owner.headers, stream=True, timeout=30) as answer:
            return list(read(answer.iter_lines(decode_unicode=True)))

    def close(self) -> None:
        """Stop the agents."""
        for agent in self.agents:
            agent.kill()
            agent.wait()
        self.remote.close()


@pytest.fixture
def site(serve: Any, tmp_path: Path) -> Iterator[Site]:
    """A server and a box that is not enrolled yet."""
    opened = Site(serve(rate_limits="off"), tmp_path)
    yield opened
    opened.close()


def test_a_box_enrols_and_runs_a_job(site: Site) -> None:
    """Token to key, script to lines over SSE, files to the store; the key is its owner's alone."""
    site.start(enrol=True)
    script = (
        "import os, pathlib, sys\n"
        "print('hello', os.environ['NAME'], *sys.argv[1:])\n"
        "print('trouble', file=sys.stderr)\n"
        "print(pathlib.Path('data/in.txt').read_text())\n"
        "pathlib.Path('artifacts/deep').mkdir(parents=True)\n"
        "pathlib.Path('artifacts/deep/out.bin').write_bytes(bytes(range(256)) * 4096)\n"
    )
    brought = {"path": "data/in.txt", "contentBase64": base64.b64encode("für dich".encode()).decode()}
    job_id = site.submit(script=script, args=["a b"], env={"NAME": "Ada"}, files=[brought])
    events = site.follow(job_id)
    lines = {(e.data["stream"], e.data["line"]) for e in events if e.name == "log"}
    assert lines == {("stdout", "hello Ada a b"), ("stderr", "trouble"), ("stdout", "für dich")}
    assert events[-1].data == {"status": "completed", "exitCode": 0}
    [artifact] = site.bench.owner.get(f"{site.bench.jobs}/{job_id}/artifacts").json()["items"]
    assert (artifact["name"], artifact["sizeBytes"], artifact["uploadState"]) == (
        "artifacts/deep/out.bin",
        2**20,
        "uploaded",
    )
    led = site.bench.owner.get(f"{site.bench.jobs}/{job_id}/artifacts/{artifact['id']}/download")
    assert requests.get(led.headers["location"], timeout=10).content == bytes(range(256)) * 4096
    assert stat.S_IMODE(site.key_file.stat().st_mode) == 0o600
    assert site.bench.owner.get(f"/api/orgs/{site.bench.org.uid}/boxes/{site.box_id}").json()["status"] == "online"
    deadline = time.monotonic() + 10  # told first, tidied up after
    while (site.folder / "jobs" / job_id).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_failing_job_says_how_it_failed(site: Site) -> None:
    """Its own exit code; -1 for what cannot be started; its files are sent all the same."""
    site.start(enrol=True)
    failing = (
        "import pathlib; pathlib.Path('artifacts').mkdir(); pathlib.Path('artifacts/a').touch(); raise SystemExit(3)"
    )
    first, second = site.submit(script=failing), site.submit(command="/no/such/program")
    job = site.until(first, *OVER)
    assert (job["status"], job["exitCode"], job["failureReason"], job["artifactCount"]) == ("failed", 3, "exit_code", 1)
    job = site.until(second, *OVER)
    assert (job["status"], job["exitCode"]) == ("failed", -1)
    assert "FileNotFoundError" in job["failureReason"]


def test_a_cancelled_job_stops_within_two_seconds(site: Site) -> None:
    """Even one that is silent, ignores SIGTERM, and started others; the box then takes the next."""
    site.start(enrol=True)
    script = "import signal, subprocess, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    script += "p = subprocess.Popen(['sleep', '61.5'])\nprint(p.pid)\ntime.sleep(60)\n"
    job_id = site.submit(script=script)
    while not (lines := site.lines(job_id)):
        time.sleep(0.05)
    child = Path(f"/proc/{lines[0][1]}")
    asked = time.monotonic()
    site.bench.owner.post(f"{site.bench.jobs}/{job_id}/cancel")
    while child.exists() and b"sleep" in child.joinpath("cmdline").read_bytes() and time.monotonic() < asked + 10:
        time.sleep(0.02)
    assert time.monotonic() - asked < 2.5
    assert site.until(site.submit(), *OVER)["status"] == "completed"
    assert site.bench.look(job_id)["status"] == "cancelled"


def test_a_job_out_of_time_is_killed(site: Site) -> None:
    """By the box, while the server says so too."""
    site.start(enrol=True)
    job_id = site.submit(script="import time; print('begun'); time.sleep(60)", timeoutSeconds=1)
    assert site.until(job_id, *OVER)["status"] == "timed_out"
    assert site.until(site.submit(), *OVER, within=10)["status"] == "completed"


def test_once_is_one_job(site: Site) -> None:
    """For scripts that use the agent; what it did is told as JSON."""
    agent = site.start("--once", enrol=True)
    job_id, waiting = site.submit(command="echo", args=["hi"]), site.submit()
    assert agent.wait(20) == 0
    told = [json.loads(line) for line in site.said.read_text().splitlines()]
    assert [(event["event"], event.get("jobId")) for event in told] == [
        ("ready", None),
        ("claimed", job_id),
        ("finished", job_id),
    ]
    assert told[-1]["status"] == "completed"
    assert site.bench.look(waiting)["status"] in {"queued", "waiting_for_box"}


def test_an_agent_stops_when_asked(site: Site) -> None:
    """Idle: at once. At work: the job is failed, not left behind."""
    agent = site.start(enrol=True)
    job_id = site.submit(script="import time; print('begun'); time.sleep(60)")
    site.until(job_id, "running")
    while not site.lines(job_id):
        time.sleep(0.05)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(10) == 0
    job = site.bench.look(job_id)
    assert (job["status"], job["failureReason"]) == ("failed", "the box stopped")
    idle = site.start()
    while '"ready"' not in site.said.read_text().splitlines()[-1]:
        time.sleep(0.05)
    time.sleep(1)
    idle.send_signal(signal.SIGTERM)
    assert idle.wait(5) == 0


def test_an_agent_that_died_gives_its_job_up_when_it_is_back(site: Site) -> None:
    """The box is free again long before the job's time is up."""
    agent = site.start(enrol=True)
    job_id = site.submit(script="import time; print('begun'); time.sleep(5)")
    site.until(job_id, "running")
    agent.kill()
    agent.wait()
    site.start()
    job = site.until(job_id, *OVER)
    assert (job["status"], job["failureReason"]) == ("failed", "the agent was restarted")
    assert site.until(site.submit(), *OVER)["status"] == "completed"


def test_an_agent_without_a_good_key_says_so(site: Site) -> None:
    """One sentence and exit code 1: no token, a spent token, a key that was rotated."""
    nobody = subprocess.run(
        [str(COMMAND), "box", "run", "--key-file", str(site.folder / "none")], capture_output=True, check=False
    )
    assert (nobody.returncode, b"--token" in nobody.stderr) == (1, True)
    assert site.start("--once", enrol=True).poll() is None
    site.until(site.submit(), *OVER)
    site.agents[0].wait(10)
    again = site.start(enrol=True)
    assert again.wait(10) == 1
    assert "refused the token" in site.said.read_text()
    site.bench.owner.post(f"/api/orgs/{site.bench.org.uid}/boxes/{site.box_id}/rotate-api-key")
    time.sleep(1)
    assert site.start().wait(10) == 1
    assert "does not take this box's key" in site.said.read_text()
