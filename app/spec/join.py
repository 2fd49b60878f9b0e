"""Joins the parts under `openapi/` into one document and weaves in what every operation shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from app.spec.weave import weave

Json = dict[str, Any]
BUNDLE = "openapi.yaml"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class JoinError(Exception):
    """Two parts claim the same name, or a part cannot be read."""


def parts() -> Path:
    """The folder of the hand-written parts, in the checkout or in the installed package."""
    return Path(__file__).resolve().parents[2] / "openapi"


def read(path: Path) -> Json:
    """One YAML part as a mapping; JoinError when it holds anything else."""
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER) or {}  # noqa: S506 (it is the safe one)
    if not isinstance(content, dict):
        raise JoinError(f"{path} must hold a mapping")
    return content


def join(folder: Path | None = None) -> Json:
    """The whole document, woven: root, shared components, schemas and paths of every group."""
    folder = folder or parts()
    document = read(folder / "root.yaml")
    components: dict[str, Json] = document.setdefault("components", {})
    for shared in yaml_under(folder / "shared"):
        _merge(components.setdefault(shared.name.removesuffix(".yaml"), {}), read(shared), shared.name)
    for schema in yaml_under(folder / "schemas"):
        _merge(components.setdefault("schemas", {}), read(schema), schema.name)
    document["paths"] = {}
    for group in yaml_under(folder / "paths"):
        _merge(document["paths"], read(group), group.name)
    return weave(document)


def bundle() -> Json:
    """The committed bundle: what is served, without joining again."""
    return read(parts() / BUNDLE)


def dump(document: Json) -> str:
    """The bundle's text: keys in the order written, no anchors, so that a diff shows what changed."""
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


class _Plain(yaml.SafeDumper):
    """YAML without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def yaml_under(folder: Path) -> list[Path]:
    """Every YAML file below a folder, by name; none when there is no such folder."""
    if not folder.is_dir():
        return []
    found: list[Path] = []
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir():
            found += yaml_under(entry)
        elif entry.name.endswith(".yaml"):
            found.append(entry)
    return found


def _merge(into: Json, more: Json, source: str) -> None:
    if twice := sorted(into.keys() & more.keys()):
        raise JoinError(f"{source} says {twice[0]} again; it is already said in another part")
    into.update(more)
