"""openapi-fetch over the types that openapi-typescript makes of the served document: they compile, and are true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.servers import Server

Run = Callable[..., str]
Promised = Callable[..., None]
STRICT = ["--strict", "--noUncheckedIndexedAccess", "--skipLibCheck", "--target", "es2022", "--lib", "es2022,dom"]
MODULES = ["--module", "nodenext", "--rootDir", "."]
# By default it takes a property that has a default for one that is always there, which holds for answers only.
SENT = "--default-non-nullable=false"

pytestmark = pytest.mark.xdist_group("clients")  # one process installs the tools, and no other finds half of them


def test_the_types_compile_and_a_client_over_them_does_its_work(
    run: Run, node_tools: Path, yard: Server, made: Path, promised: Promised
) -> None:
    """Every request the scenario sends, and every answer and refusal it reads, is of the type that was generated."""
    address = f"{yard.base_url}/api/openapi.json"
    run(node_tools / "openapi-typescript", address, SENT, "-o", made / "document.ts")
    run(node_tools / "tsc", *STRICT, *MODULES, "--outDir", made / "js", "openapi_fetch.ts")
    promised("fetch", "node", made / "js" / "openapi_fetch.js")
