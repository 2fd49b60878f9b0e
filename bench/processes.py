"""Real processes: started in their own group, waited for, weighed, and stopped by id; nothing else is signalled."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
GRACE = 8.0
POLL = 0.01


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int, path: str, status: int) -> bool:
    """Whether GET `path` gives the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def children() -> dict[int, list[int]]:
    """Process ids by parent, from /proc."""
    tree: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
            if fields:
                tree.setdefault(int(fields[1]), []).append(int(entry.name))
    return tree


def tree_of(pid: int) -> list[int]:
    """A process and all its descendants."""
    below, found = children(), [pid]
    for each in found:
        found.extend(below.get(each, []))
    return found


def resident_mb(pid: int) -> float:
    """Resident memory of a process tree in MB (10^6 bytes); shared pages count once per process, as `ps` has it."""
    total = 0
    for each in tree_of(pid):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1])
    return total * PAGE / 1e6


def cpu_seconds(pid: int) -> float:
    """CPU time a process tree has used, user and system; a child that ended is no longer counted."""
    ticks = 0
    for each in tree_of(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


@dataclass(slots=True)
class Server:
    """A started process which listens on a loopback port."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    spawned: float
    start_seconds: float = 0.0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def resident_mb(self) -> float:
        """Resident memory of its whole tree."""
        return resident_mb(self.process.pid)

    @property
    def cpu_seconds(self) -> float:
        """CPU time its whole tree has used."""
        return cpu_seconds(self.process.pid)

    def ready(self, path: str, limit: float, *, status: int = http.client.OK) -> Self:
        """Wait until GET `path` gives the status, and note the time since the spawn.

        Raises RuntimeError with the tail of the log.
        """
        while time.perf_counter() - self.spawned < limit:
            if answers(self.port, path, status):
                self.start_seconds = time.perf_counter() - self.spawned
                return self
            if self.process.poll() is not None:
                break
            time.sleep(POLL)
        self.stop()
        raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """Ask the process group to end; insist after a grace."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
                return


def spawn(name: str, command: Sequence[str], port: int, log: Path, env: Mapping[str, str] | None = None) -> Server:
    """Start a command in its own process group, its output in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            list(command), cwd=ROOT, env=dict(os.environ) | dict(env or {}), stdin=subprocess.DEVNULL,
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    return Server(name, port, process, log, started)
