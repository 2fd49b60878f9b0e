"""The linter of the hand-written parts: rules kept as data under `openapi/rules`, each enforced by one function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.spec import join
from app.spec.lint import operations, schemas
from app.spec.lint.sources import Place, Sources

Json = dict[str, Any]
Check = Callable[[Sources], Iterator[tuple[Place, str]]]
CHECKS: Mapping[str, Check] = {**operations.CHECKS, **schemas.CHECKS}


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a rule is broken: the part's file, the JSON pointer in it, the rule, what is wrong and what to do."""

    file: str
    pointer: str
    rule: str
    problem: str
    do: str

    def __str__(self) -> str:
        return f"{self.file}#{self.pointer}: {self.problem} [{self.rule}] {self.do}"

    def as_json(self) -> Json:
        """The same for programs."""
        return asdict(self)


def rules() -> dict[str, dict[str, str]]:
    """Every rule by its name: what it wants, why, and what to do."""
    folder = join.parts() / "rules"
    return {name: rule for file in join.yaml_under(folder) for name, rule in join.read(file).items()}


def lint(folder: Path | None = None) -> list[Finding]:
    """Everything the rules find in the parts under a folder, file by file."""
    sources, told = Sources(folder or join.parts()), rules()
    found = [
        Finding(place.file, place.pointer, name, problem, told[name]["do"])
        for name, check in CHECKS.items()
        for place, problem in check(sources)
    ]
    return sorted(found, key=lambda finding: (finding.file, finding.pointer, finding.rule))
