"""Cost map: where the money of the last days went, as a tree whose largest branches are shown."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import reduce
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.gateway.money import usd
from app.services.observing.cells import OTHER, SUMS, day_of, days_of
from app.services.observing.switched import Settings
from models.base import EPOCH, now
from models.observing import CostCell

Json = dict[str, Any]
NAME: Final = "costmap"
# What is read of the database, what is shown of a branch, and of the tree.
MOST_LEAVES: Final = 5_000
MOST_CHILDREN: Final = 20
MOST_NODES: Final = 500


class Sums(NamedTuple):
    """What some calls came to."""

    calls: int = 0
    unpriced: int = 0
    tokens: int = 0
    cost_nano: int = 0

    def plus(self, other: Sums) -> Sums:
        """Both together."""
        return Sums(*(one + more for one, more in zip(self, other, strict=True)))

    def minus(self, other: Sums) -> Sums:
        """What is left without the other."""
        return Sums(*(one - less for one, less in zip(self, other, strict=True)))


@dataclass(slots=True)
class Node:
    """A branch of the tree, with all that is below it."""

    sums: Sums = field(default_factory=Sums)
    children: dict[str, Node] = field(default_factory=dict)

    def grow(self, path: Sequence[str], sums: Sums) -> None:
        """Count a leaf, in this branch and every one on the way there."""
        self.sums = self.sums.plus(sums)
        if path:
            self.children.setdefault(path[0], Node()).grow(path[1:], sums)

    def parts(self) -> tuple[list[tuple[str, Node]], Sums]:
        """The largest branches directly below, and what the others come to."""
        named = [(name, child) for name, child in self.children.items() if name != OTHER]
        named.sort(key=lambda one: (_first(one[1]), one[0]))
        others = [child for _, child in named[MOST_CHILDREN:]]
        others += [self.children[OTHER]] if OTHER in self.children else []
        return named[:MOST_CHILDREN], reduce(Sums.plus, (child.sums for child in others), Sums())


def stats(session: Session, settings: Settings) -> Json:
    """The tree of the calls of the window that were stored while the module was on, and what they came to."""
    levels: list[str] = settings["group_by"]
    since = day_of(now()) - days_of(settings["window"]) + 1
    root = _root(session, levels, since)
    told: Json = {"since": (EPOCH + timedelta(days=since)).date().isoformat(), "group_by": levels}
    return told | _tree(root, levels)


def leaves(levels: Sequence[str], since: int) -> Select[Any]:
    """The largest leaves: what each has of the levels, and its sums."""
    by = [_column(level) for level in levels]
    sums = [func.sum(getattr(CostCell, name)) for name in SUMS]
    order = (sums[-1].desc(), sums[0].desc(), *by)
    found = select(*by, *sums).where(CostCell.day >= since).group_by(*by)
    return found.order_by(*order).limit(MOST_LEAVES)


def _root(session: Session, levels: Sequence[str], since: int) -> Node:
    """The tree; what is in none of the leaves, where these are too many, is one branch more."""
    root = Node()
    found = session.execute(leaves(levels, since)).all() if levels else ()
    for *path, calls, unpriced, tokens, nano in found:
        root.grow([str(name or "") for name in path], Sums(int(calls), int(unpriced), int(tokens), int(nano)))
    if not levels or len(found) == MOST_LEAVES:
        rest = _whole(session, since).minus(root.sums)
        if rest.calls > 0:  # read a moment later: old days may be gone by then
            root.grow([OTHER][: len(levels)], rest)
    return root


def _whole(session: Session, since: int) -> Sums:
    sums = (func.coalesce(func.sum(getattr(CostCell, name)), 0) for name in SUMS)
    return Sums(*map(int, session.execute(select(*sums).where(CostCell.day >= since)).one()))


def _column(level: str) -> Any:
    return CostCell.user_id if level == "user" else getattr(CostCell, level)


def _tree(root: Node, levels: Sequence[str]) -> Json:
    """The root as it is shown, with the heaviest branches opened first, until there are enough of them."""
    shown, nodes = _shown(root.sums, root.sums), 1
    closed = [(_first(root), nodes, 0, root, shown)]
    while closed and nodes < MOST_NODES:
        *_, depth, node, told = heapq.heappop(closed)
        if not node.children:
            continue
        parts, others = node.parts()
        told["children"] = [_named(levels[depth], name, child.sums, root.sums) for name, child in parts]
        for (_, child), below in zip(parts, told["children"], strict=True):
            nodes += 1
            heapq.heappush(closed, (_first(child), nodes, depth + 1, child, below))
        if others.calls:
            told["children"].append(_named(levels[depth], OTHER, others, root.sums))
    return shown


def _first(node: Node) -> tuple[int, int]:
    return -node.sums.cost_nano, -node.sums.calls


def _named(level: str, name: str, sums: Sums, whole: Sums) -> Json:
    return {"level": level, "name": name or None} | _shown(sums, whole)


def _shown(sums: Sums, whole: Sums) -> Json:
    share = round(sums.cost_nano / whole.cost_nano, 4) if whole.cost_nano else 0.0
    told: Json = {"calls": sums.calls, "unpriced": sums.unpriced, "tokens": sums.tokens}
    return told | {"cost_usd": usd(sums.cost_nano), "share": share}
