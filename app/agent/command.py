"""A job's command as a process group of its own: its lines as they come, its end, and how it is made to end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

LONGEST_LINE = 1024 * 1024
KILL_AFTER_S = 1.0
# How long the output may stay open after the command ended, held by something it left behind.
LINGER_S = 1.0
Say = Callable[[str, str], None]


class Command:
    """A running command. `say(stream, line)` is called from threads of its own for each line it writes."""

    def __init__(self, argv: Sequence[str], folder: Path, env: Mapping[str, str], say: Say) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(  # noqa: S603 (running what it is told is what a box is for)
            argv,
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )
        self._say = say
        outputs = {"stdout": self._process.stdout, "stderr": self._process.stderr}
        self._readers = [
            threading.Thread(target=self._read, args=(name, pipe), daemon=True)
            for name, pipe in outputs.items()
            if pipe
        ]
        for reader in self._readers:
            reader.start()

    def wait(self, within_s: float) -> int | None:
        """The exit code (128 + n when signal n ended it), or None when it still runs."""
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None
        return 128 - code if code < 0 else code

    def end(self) -> None:
        """Ask the whole group to end, and make it end a second later."""
        self._signal(signal.SIGTERM)
        if self.wait(KILL_AFTER_S) is None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def drain(self) -> None:
        """Return when every line was told; what the command left running is killed, for its job is over."""
        for reader in self._readers:
            reader.join(LINGER_S)
        self._signal(signal.SIGKILL)
        for reader in self._readers:
            reader.join()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _read(self, stream: str, pipe: IO[bytes]) -> None:
        with pipe:
            while raw := pipe.readline(LONGEST_LINE + 1):
                whole = raw
                while whole and not whole.endswith(b"\n") and len(raw) > LONGEST_LINE:
                    whole = pipe.readline(LONGEST_LINE)  # the rest of a line that is too long is passed over
                self._say(stream, _text(raw))


def _text(raw: bytes) -> str:
    """The line without its end, as text that can be sent: what is no UTF-8, and NUL, is replaced."""
    cut = " [truncated]" if len(raw) > LONGEST_LINE else ""
    line = raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")
    return line.replace("\x00", "\ufffd") + cut
