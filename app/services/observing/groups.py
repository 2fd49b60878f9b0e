"""Groups of users: how many of each called in a step, by when they were first seen, by their plan, or by project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from app.services.observing.steps import Step

Json = dict[str, Any]
EARLIER, OTHER = "(earlier)", "(other)"
MOST_GROUPS: Final = 50


class Used(NamedTuple):
    """A user: the day of their first call, what they may be grouped by, and how many calls they made on which days."""

    first: int
    plan: str | None
    project: str | None
    days: Mapping[int, int]


@dataclass(slots=True)
class Group:
    """How many users there are, and in each step how many of them called, and how often."""

    size: int = 0
    users: Counter[int] = field(default_factory=Counter)
    calls: Counter[int] = field(default_factory=Counter)

    def take(self, other: Group) -> None:
        """All of another group's."""
        self.size += other.size
        self.users += other.users
        self.calls += other.calls


# By the step in which its users were first seen, 0 of all before those that are shown; or by name, "" where none is
# known.
Groups = dict[int | str, Group]
GROUPED: Final[Mapping[str, Callable[[Used, Step], int | str]]] = {
    "first_seen": lambda used, step: step.of(used.first),
    "plan": lambda used, _: used.plan or "",
    "project": lambda used, _: used.project or "",
}


def count(groups: Groups, used: Used, step: Step, by: str, today: int) -> None:
    """Add a user to their group, with the steps that are shown in which they called."""
    since, key = _since(step, today), GROUPED[by](used, step)
    group = groups.setdefault(EARLIER if isinstance(key, int) and key < since else key, Group())
    calls: Counter[int] = Counter()
    for day, number in used.days.items():
        if since <= (at := step.of(day)) <= step.of(today):
            calls[at] += number
    group.size += 1
    group.users.update(calls.keys())
    group.calls.update(calls)


def shown(groups: Groups, step: Step, by: str, today: int) -> list[Json]:
    """The groups: those by time in its order, those by name the largest first, the smallest of too many as one."""
    return [_told(key, group, step, today) for key, group in (_by_time if by == "first_seen" else _by_size)(groups)]


def _since(step: Step, today: int) -> int:
    return step.of(today) - step.shown + 1


def _by_time(groups: Groups) -> Iterator[tuple[int | str, Group]]:
    yield from sorted(groups.items(), key=lambda one: (isinstance(one[0], int), one[0]))


def _by_size(groups: Groups) -> Iterator[tuple[int | str, Group]]:
    order = sorted(groups.items(), key=lambda one: (-one[1].size, str(one[0])))
    yield from order[:MOST_GROUPS]
    if order[MOST_GROUPS:]:
        others = Group()
        for _, group in order[MOST_GROUPS:]:
            others.take(group)
        yield OTHER, others


def _told(key: int | str, group: Group, step: Step, today: int) -> Json:
    """From the step the group began in, or the first that is shown, to the one that is not over yet."""
    since = key if isinstance(key, int) else _since(step, today)
    name = step.begins(key).isoformat() if isinstance(key, int) else key or None
    points = [_point(group, at, step) for at in range(since, step.of(today) + 1)]
    return {"group": name, "users": group.size, "steps": points}


def _point(group: Group, at: int, step: Step) -> Json:
    users = group.users[at]
    told: Json = {"from": step.begins(at).isoformat(), "users": users, "share": round(users / group.size, 4)}
    return told | {"calls": group.calls[at]}
