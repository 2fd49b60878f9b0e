"""A worker process of a test: its tasks write a line for each step they run, so that what was done can be counted."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from app import settings as configuration
from app.engine import Context
from app.factory import create
from app.observe import logs

STEPS = 3


def main(said: Path, takes_s: float) -> None:
    """Work until SIGTERM; each step takes so long."""

    def run(key: str, context: Context) -> None:
        for number in range(STEPS):
            context.step(f"step {number}", lambda number=number: note(key, number))

    def note(key: str, number: int) -> int:
        time.sleep(takes_s)
        with said.open("ab", buffering=0) as file:
            file.write(f"{key} {number} {os.getpid()} {time.time()}\n".encode())
        return number

    async def work() -> None:
        settings = configuration.load()
        logs.configure(settings)
        application = create(settings)
        application.runtime.tasks.register("steps", run)
        ending = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
        await application.start()
        said.with_suffix(f".{os.getpid()}").touch()
        await ending.wait()
        await application.stop()

    asyncio.run(work())


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
