"""What a piece of work costs by itself."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this thread alone, the collector off: it would look at ten thousand tests, and others run beside."""
    collecting = gc.isenabled()
    gc.disable()
    began = time.thread_time()
    try:
        work()
        return time.thread_time() - began
    finally:
        if collecting:
            gc.enable()
