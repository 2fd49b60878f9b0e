"""The client that OpenAPI Generator makes of the served document (typescript-fetch): it compiles, and does its work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.servers import Server

Run = Callable[..., str]
Promised = Callable[..., None]
# Some bodies serve clients of two systems and say `created_at` and `createdAt`; in its own spelling both are one name.
NAMES = "modelPropertyNaming=original,paramNaming=original,enumPropertyNaming=original,importFileExtension=.js"
BARE = "--global-property=apiDocs=false,modelDocs=false"
STRICT = ["--strict", "--skipLibCheck", "--target", "es2022", "--lib", "es2022,dom"]
MODULES = ["--module", "nodenext", "--rootDir", "."]

pytestmark = pytest.mark.xdist_group("clients")  # one process installs the tools, and no other finds half of them


def test_the_client_compiles_and_does_its_work(
    run: Run, python_bin: Path, node_tools: Path, yard: Server, made: Path, promised: Promised
) -> None:
    """The generator validates the document itself; all it makes passes the compiler's strict mode."""
    address = f"{yard.base_url}/api/openapi.json"
    what = ["generate", "-i", address, "-g", "typescript-fetch", f"--additional-properties={NAMES}", BARE]
    run(python_bin / "openapi-generator-cli", *what, "-o", made / "client")
    run(node_tools / "tsc", *STRICT, *MODULES, "--outDir", made / "js", "typescript_fetch.ts")
    promised("generator", "node", made / "js" / "typescript_fetch.js")
