"""What a module's settings must keep among themselves, where a schema cannot say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from app.gateway.modules import timetables, workflows
from app.problems import Issue

# Given complete settings that their schema admits, and where they stand, what is still wrong with them.
RELATIONS: Final[Mapping[str, Callable[[dict[str, Any], tuple[str | int, ...]], Iterator[Issue]]]] = {
    "chainforge": workflows.issues,
    "cronllm": timetables.issues,
}
