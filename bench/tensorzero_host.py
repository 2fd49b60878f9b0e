"""Holds TensorZero's gateway, a Python extension, in a process of its own; runs under the peer's Python."""

from __future__ import annotations

import signal
import sys
from importlib import import_module

start = vars(import_module("tensorzero.tensorzero"))["_start_http_gateway"]
gateway = start(config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
print(f"listening on {gateway.base_url}", flush=True)
signal.pause()
