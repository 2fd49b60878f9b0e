"""Prometheus's two text forms: 0.0.4, and OpenMetrics 1.0 for those who ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from app.observe.meter import BOUNDS_US

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
BOUNDS: Final = tuple(f"{bound / 1_000_000:.10g}" for bound in BOUNDS_US)


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name without `_total`, its type, what it tells, its labels' names, and its values by labels.

    A histogram's values are count, sum in microseconds, and a number for each bucket.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    values: Mapping[tuple[str, ...], float | list[int]] = field(default_factory=dict)


def wants_open(accept: str) -> bool:
    """Whether a scraper asks for OpenMetrics."""
    return "application/openmetrics-text" in accept.lower()


def render(families: Iterable[Family], *, open_metrics: bool) -> bytes:
    """The text of all families."""
    lines = [line for family in families for line in _family(family, open_metrics=open_metrics)]
    return "".join(f"{line}\n" for line in [*lines, *(["# EOF"] if open_metrics else [])]).encode()


def _family(family: Family, *, open_metrics: bool) -> Iterator[str]:
    total = family.name + ("_total" if family.kind == COUNTER else "")
    name = family.name if open_metrics else total
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} {family.kind}"
    for key in sorted(family.values):
        value, labels = family.values[key], list(zip(family.labels, key, strict=True))
        if isinstance(value, list):
            yield from _histogram(family.name, labels, value, open_metrics=open_metrics)
        else:
            yield f"{total}{_labels(labels)} {_number(value)}"


def _histogram(name: str, labels: list[tuple[str, str]], value: list[int], *, open_metrics: bool) -> Iterator[str]:
    so_far = 0
    for bound, number in zip((*BOUNDS, "+Inf"), value[2:], strict=True):
        so_far += number
        # OpenMetrics wants floats here ("Canonical Numbers").
        written = f"{bound}.0" if open_metrics and bound.isdigit() else bound
        yield f"{name}_bucket{_labels([*labels, ('le', written)])} {so_far}"
    yield f"{name}_sum{_labels(labels)} {_number(value[1] / 1_000_000)}"
    yield f"{name}_count{_labels(labels)} {value[0]}"


def _labels(labels: Iterable[tuple[str, str]]) -> str:
    told = ",".join(f'{name}="{value.translate(ESCAPES)}"' for name, value in labels)
    return f"{{{told}}}" if told else ""


def _number(value: float) -> str:
    return repr(value) if isinstance(value, float) else str(value)
