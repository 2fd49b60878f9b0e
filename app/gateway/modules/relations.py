"""What a module's settings must keep among themselves, where a schema cannot say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from app.gateway.modules import timetables, workflows
from app.problems import Issue

Json = dict[str, Any]
Path = tuple[str | int, ...]
# Given complete settings that their schema admits, and where they stand, what is still wrong with them.
Check = Callable[[Json, Path], Iterator[Issue]]


def issues(name: str, config: Json, at: Path) -> list[Issue]:
    """What is wrong with a module's settings besides what their schema says."""
    return [issue for check in RELATIONS.get(name, ()) for issue in check(config, at)]


def _named_apart(kind: str) -> Check:
    """No two of a list have one name: the second would never be found."""

    def check(config: Json, at: Path) -> Iterator[Issue]:
        seen: set[str] = set()
        for number, one in enumerate(config[f"{kind}s"]):
            if one["name"] in seen:
                yield Issue((*at, f"{kind}s", number, "name"), "format", f"name that no {kind} before has")
            seen.add(one["name"])

    return check


RELATIONS: Final[Mapping[str, tuple[Check, ...]]] = {
    "chainforge": (_named_apart("workflow"), workflows.issues),
    "cronllm": (_named_apart("job"), timetables.issues),
    "webhookrelay": (_named_apart("relay"),),
}
