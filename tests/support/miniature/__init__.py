"""A small document in all five dialects, with real handlers over a table of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from app.spec.join import parts, read
from app.spec.weave import weave

Json = dict[str, Any]
HERE = Path(__file__).parent
HANDLERS = "support.miniature"
DIALECTS = ("gateway", "stockyard", "stout", "outsend", "stackflow")


def document() -> Json:
    """The real dialects, errors and headers; the operations of `operations.yaml` once per dialect."""
    whole = read(parts() / "root.yaml")
    components = whole["components"] | {"headers": read(parts() / "shared" / "headers.yaml")}
    own = read(HERE / "operations.yaml")
    schemas = own["schemas"] | read(parts() / "schemas" / "errors.yaml")
    tag = {"name": "things", "x-system": "systems", "x-dialect": "stockyard", "description": "Things."}
    whole |= {"tags": [tag], "components": components | {"schemas": schemas}, "x-aliases": {}, "paths": {}}
    for dialect in DIALECTS:
        pages = whole["x-dialects"][dialect]["pages"]
        for path, item in _spoken(dialect, pages).items():
            whole["paths"][f"/{dialect}{path}"] = item
    return weave(whole)


def _spoken(dialect: str, pages: str) -> Json:
    """The operations as one dialect has them: their ids with its name, their lists with its parameters."""
    own = read(HERE / "operations.yaml")
    for item in own["paths"].values():
        for operation in item.values():
            handler = operation["operationId"]
            operation |= {"operationId": f"{handler}_{dialect}", "x-alias-of": handler, "x-dialect": dialect}
    own["paths"]["/things"]["get"]["parameters"] += yaml.safe_load(yaml.dump(own["pages"][pages]))
    paths: Json = own["paths"]
    return paths
