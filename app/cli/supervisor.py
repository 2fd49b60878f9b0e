"""The top process of a running server: it records what the workers spool, and passes signals on to them."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from app.cli import is_refusal
from app.services.recorder import SPOOL, Recorder
from app.services.rollups import store
from app.settings import Settings
from models.base import connect

if TYPE_CHECKING:
    from app.factory import Application

PR_SET_PDEATHSIG = 1
# Longer than workers are given to finish their answers: who is still there then is stuck, and all is spooled.
OVERDUE_S = 45.0
# A tenth of a core stays the recorder's where all of them are busy, so that it never stops for good.
NICENESS = 10
MASTER = "YARDMASTER_MASTER_PID"
# Shared with every process forked from this one: 1 once a worker found that it can never start.
_refused = mmap.mmap(-1, 1)


def supervise(
    settings: Settings, prepare: Callable[[], None], load: Callable[[], None], serve: Callable[[], None]
) -> int:
    """Run `serve` in a child and record beside it, in a process that shares no interpreter lock with the workers.

    The child does `load` while `prepare` is done here. Returns its exit code, once everything it spooled is stored.
    """
    top = os.getpid()
    waiting, prepared = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(prepared)
        os.setsid()
        follow(top)
        os.environ[MASTER] = str(os.getpid())
        load()
        if not os.read(waiting, 1):  # it could not be prepared; why, is said there
            sys.exit(1)
        serve()
        sys.exit(_refused[0])
    prepare()
    os.write(prepared, b"!")
    gc.enable()
    _stand_back()
    stop = threading.Event()
    recorder = Recorder(settings.data / SPOOL, partial(store, connect(settings.database)))
    thread = threading.Thread(target=recorder.run, args=(stop,), name="recorder", daemon=True)
    thread.start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, partial(_pass_on, child))
    _, status = os.waitpid(child, 0)
    stop.set()
    thread.join()
    return os.waitstatus_to_exitcode(status)


def _stand_back() -> None:
    """Let whoever answers calls go first: a call that waits for the recorder's turn on a core waits milliseconds.

    Linux weighs sessions against each other before processes (sched(7), "The autogroup feature"): the workers have one
    of their own, and this one's weight is only lowered when it holds nothing but us.
    """
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS))


def _pass_on(child: int, number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGHUP:
        os.kill(child, number)
        return
    os.kill(child, signal.SIGTERM)
    overdue = threading.Timer(OVERDUE_S, os.killpg, (child, signal.SIGKILL))
    overdue.daemon = True
    overdue.start()


def follow(parent: int) -> None:
    """End with the parent process, however it ends (Linux only; elsewhere the workers record for themselves)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before we asked
            sys.exit(1)


def work() -> Application:
    """What each worker runs: the application, for as long as the process that started it lives.

    A worker left behind would keep the port from the server that is started next.
    """
    from app.factory import worker  # noqa: PLC0415 (the top process needs none of it)

    master = int(os.environ[MASTER])
    follow(master)
    try:
        return worker()
    except Exception as error:
        if not is_refusal(error):
            raise
        _refuse(str(error), master)


def _refuse(sentence: str, master: int) -> NoReturn:
    """End the server: what this worker cannot start with, no other can. The first to notice says it."""
    if not _refused[0]:
        _refused[0] = 1
        click.echo(f"yardmaster: {sentence}", err=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what is set was made for the process this one was forked from
    os.kill(master, signal.SIGTERM)
    while True:
        signal.pause()
