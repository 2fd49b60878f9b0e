"""Whether a worker on this machine has died, told by the lock it held."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.engine.vitals import FOLDER, Vitals

SHOWN = """
import sys, time
from pathlib import Path
from app.engine.vitals import Vitals
Vitals(Path(sys.argv[1]), sys.argv[2]).show()
print("shown", flush=True)
time.sleep(60)
"""


@contextmanager
def worker(data: Path, executor: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that shows that it lives."""
    command = [sys.executable, "-c", SHOWN, str(data), executor]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as started:
        assert started.stdout
        assert started.stdout.readline() == b"shown\n"
        yield started
        started.kill()


def test_a_death_is_told_once(tmp_path: Path) -> None:
    """Whatever ended the process; and nobody is told dead who lives, or is merely stopped."""
    ours = Vitals(tmp_path, "ours")
    ours.show()
    with worker(tmp_path, "killed") as killed, worker(tmp_path, "stopped") as stopped:
        stopped.send_signal(signal.SIGSTOP)
        assert ours.dead() == []
        killed.kill()
        killed.wait()
        assert ours.dead() == ["killed"]
        assert ours.dead() == []
    ours.end()
    assert [file.name for file in (tmp_path / FOLDER).iterdir()] == ["stopped"]


def test_one_that_ends_in_order_leaves_nothing_to_tell(tmp_path: Path) -> None:
    """Its lease is over already."""
    ours, other = Vitals(tmp_path, "ours"), Vitals(tmp_path, "other")
    ours.show()
    other.show()
    other.end()
    assert ours.dead() == []


def test_one_that_is_about_to_show_itself_is_not_dead(tmp_path: Path) -> None:
    """Its file has its name only once it is locked."""
    ours = Vitals(tmp_path, "ours")
    ours.show()
    (tmp_path / FOLDER / ".newborn").touch()
    assert ours.dead() == []


def test_without_locks_there_is_the_lease(tmp_path: Path) -> None:
    """A folder that cannot be made is no reason not to work."""
    (tmp_path / FOLDER).touch()
    ours = Vitals(tmp_path, "ours")
    ours.show()
    assert ours.dead() == []
    ours.end()
