"""Runs one job from its claim to its result: files, command, lines, artifacts; ends early when it is called off."""

from __future__ import annotations

import shlex
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from app.agent import uploads
from app.agent.command import Command
from app.agent.identity import AgentError, Identity
from app.agent.link import Link, StoppedError
from app.agent.log_sender import LogSender

COULD_NOT_RUN = -1
LOOK_S = 0.1
WATCH_S = 20
Tell = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Habits:
    """How a box runs jobs: where, in front of which program, and which files it sends back."""

    folder: Path
    program: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ("artifacts/**/*",)
    last_words_s: float = field(default=5.0)


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of the command."""

    exit_code: int
    reason: str = ""


class Runner:
    """One job at work."""

    def __init__(
        self, identity: Identity, habits: Habits, stop: threading.Event, job: Mapping[str, Any], tell: Tell
    ) -> None:
        self._identity, self._habits, self._stop, self._tell = identity, habits, stop, tell
        self._job = job
        self._id = str(job["jobId"])
        self._until = time.monotonic() + float(job["timeoutSeconds"])
        self._folder = habits.folder / self._id
        # The server wants no more of this job: it was called off, or its time was up.
        self._over = threading.Event()
        self._done = threading.Event()
        self._link = Link(identity, stop)

    def run(self) -> None:
        """To the end; AgentError when the box is not known any more."""
        answer = self._link.post(self._path("ack"))
        if not answer.ok:
            self._tell("skipped", jobId=self._id, status=_status(answer))
            return
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        try:
            self._report(self._work())
        finally:
            self._done.set()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._link.close()

    def _work(self) -> Ended:
        logs = LogSender(Link(self._identity, self._stop), self._id, self._over)
        try:
            ended = self._executed(logs)
            if not self._over.is_set() and not self._stop.is_set():
                self._send_files(logs)
        finally:
            logs.finish()
        return ended

    def _executed(self, logs: LogSender) -> Ended:
        try:
            argv = [*self._habits.program, *shlex.split(self._job["command"]), *self._job["args"]]
            self._fetch_files()
            command = Command(argv, self._folder, self._environment(), logs.say)
        except (OSError, ValueError, requests.RequestException) as error:
            reason = f"it could not be started ({type(error).__name__})"
            logs.say("stderr", f"{reason}: {error}".replace("\x00", ""))
            return Ended(COULD_NOT_RUN, reason)
        return self._followed(command)

    def _followed(self, command: Command) -> Ended:
        """Wait for the command's end, or make it end: called off, out of time, or the box is to stop."""
        reasons = (
            (self._over.is_set, "it was called off"),
            (self._late, "its time was up"),
            (self._stop.is_set, "the box stopped"),
        )
        while (code := command.wait(LOOK_S)) is None:
            if reason := next((said for holds, said in reasons if holds()), ""):
                command.end()
                command.drain()
                return Ended(COULD_NOT_RUN, reason)
        command.drain()
        return Ended(code)

    def _late(self) -> bool:
        return time.monotonic() > self._until

    def _fetch_files(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in self._job["files"]:
            place = (self._folder / file["path"]).resolve()
            if not place.is_relative_to(self._folder.resolve()):
                raise ValueError(f"{file['path']} leads out of the job's folder")
            answer = self._link.fetch(file["url"])
            answer.raise_for_status()
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(answer.content)

    def _environment(self) -> dict[str, str]:
        return {"YARDMASTER_JOB_ID": self._id, "PYTHONUNBUFFERED": "1", **self._job["env"]}

    def _send_files(self, logs: LogSender) -> None:
        files = list(uploads.found(self._folder, self._habits.artifacts))
        if files:
            self._link.post(self._path("status"), {"status": "uploading_artifacts"})
        for path in files:
            if self._over.is_set():
                return
            if trouble := uploads.upload(self._link, self._id, self._folder, path):
                logs.say("stderr", trouble)

    def _report(self, ended: Ended) -> None:
        body = {"exitCode": ended.exit_code} | ({"failureReason": ended.reason[:200]} if ended.reason else {})
        patience = self._habits.last_words_s if self._stop.is_set() else None
        answer = self._link.post(self._path("result"), body, patience_s=patience)
        self._tell("finished", jobId=self._id, status=_status(answer), exitCode=ended.exit_code)

    def _watch(self) -> None:
        """Ask to be told when the job is over: that is how a cancellation reaches a silent command."""
        link = Link(self._identity, self._done)
        while not self._done.is_set():
            try:
                answer = link.post("/api/box/jobs/claim", {"waitSeconds": WATCH_S, "runningJobId": self._id})
            except (StoppedError, AgentError):
                return
            if answer.headers.get("x-job-over"):
                self._over.set()
                return
            if answer.status_code != HTTPStatus.NO_CONTENT:
                return

    def _path(self, what: str) -> str:
        return f"/api/box/jobs/{self._id}/{what}"


def _status(answer: requests.Response) -> str:
    """The state of the job in an answer or a refusal."""
    try:
        return str(answer.json().get("status", "unknown"))
    except ValueError:
        return "unknown"
