"""The box's endless work: say that one is alive, ask for a job, run it, ask again."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from app.agent.identity import AgentError, Identity
from app.agent.link import Link, StoppedError
from app.agent.runner import COULD_NOT_RUN, Habits, Runner, Tell

WAIT_S = 25
LOOK_S = 0.1
VERSION = "yardmaster-agent/1"
CURRENT = "current.json"


class Agent:
    """One box. `run` returns when `stop` is set, or after one job with `once`."""

    def __init__(self, identity: Identity, habits: Habits, stop: threading.Event, tell: Tell) -> None:
        self._identity, self._habits, self._stop, self._tell = identity, habits, stop, tell
        self._failure: AgentError | None = None
        self.busy = False
        self._link = Link(identity, stop)

    def live(self, *, once: bool = False) -> None:
        """Run beside this thread, which signals are told to, until stopped; AgentError as for `run`.

        A wait for a job is not waited for: a job it would bring after all is handed out again.
        """
        worker = threading.Thread(target=self._run_and_keep, args=(once,), daemon=True)
        worker.start()
        while worker.is_alive() and (self.busy or not self._stop.is_set()):
            worker.join(LOOK_S)
        if self._failure:
            raise self._failure

    def _run_and_keep(self, once: bool) -> None:
        try:
            self.run(once=once)
        except AgentError as error:
            self._failure = error

    def run(self, *, once: bool = False) -> None:
        """AgentError when the server does not know the box any more."""
        self._habits.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        heart = threading.Thread(target=self._beat, daemon=True)
        heart.start()
        with suppress(StoppedError):
            self._give_up_last()
            while not self._stop.is_set():
                if self._take_turn() and once:
                    break
        if self._failure:
            raise self._failure

    def _take_turn(self) -> bool:
        """Ask for a job and run it; whether there was one."""
        answer = self._link.post("/api/box/jobs/claim", {"waitSeconds": WAIT_S})
        if answer.status_code == HTTPStatus.NO_CONTENT:
            return False
        if answer.status_code != HTTPStatus.OK:
            raise AgentError(f"the server refused to give jobs: status {answer.status_code}")
        job = answer.json()
        self._tell("claimed", jobId=job["jobId"], command=job["command"])
        self._remember(job["jobId"])
        self.busy = True
        Runner(self._identity, self._habits, self._stop, job, self._tell).run()
        self._note.unlink(missing_ok=True)
        self.busy = False
        return True

    def _give_up_last(self) -> None:
        """An agent that died at a job cannot go on with it: the job fails at once, and the box is free."""
        if not self._note.exists():
            return
        job_id = json.loads(self._note.read_text())["jobId"]
        body: dict[str, Any] = {"exitCode": COULD_NOT_RUN, "failureReason": "the agent was restarted"}
        self._link.post(f"/api/box/jobs/{job_id}/ack")
        self._link.post(f"/api/box/jobs/{job_id}/result", body)
        shutil.rmtree(self._habits.folder / job_id, ignore_errors=True)
        self._note.unlink()
        self._tell("given_up", jobId=job_id)

    def _remember(self, job_id: str) -> None:
        self._note.write_text(json.dumps({"jobId": job_id}))

    @property
    def _note(self) -> Path:
        return self._habits.folder / CURRENT

    def _beat(self) -> None:
        """Say that one is alive, until the end; a key that is not taken any more ends everything."""
        link = Link(self._identity, self._stop)
        while not self._stop.is_set():
            try:
                link.post("/api/box/heartbeat", {"status": {"ip": own_address()}, "agentVersion": VERSION})
            except StoppedError:
                return
            except AgentError as error:
                self._failure = error
                self._stop.set()
                return
            self._stop.wait(self._identity.interval_s)


def own_address() -> str:
    """The address this machine would be reached at; nothing is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
