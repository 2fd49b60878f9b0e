"""Price files: read whole or refused whole, with every bad row named."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import yaml

from app.gateway.prices import litellm
from app.gateway.prices.rows import BadRowError, price_of, row_of
from app.gateway.prices.table import bare, canonical

if TYPE_CHECKING:
    from app.gateway.money import Price

LARGEST_FILE = 32 * 1024 * 1024
UNIT = "USD per 1M tokens"

Document = Any
Place = str


class Fault(NamedTuple):
    """One thing wrong with a file: where (line, row or key) and why."""

    where: str
    reason: str


class PriceFileError(Exception):
    """A price file that was refused as a whole."""

    def __init__(self, path: Path, faults: list[Fault]) -> None:
        lines = [f"{where}: {reason}" if where else reason for where, reason in faults]
        super().__init__("\n  ".join([f"{path} is no usable price file:", *lines]))
        self.path = path
        self.faults = faults


class Reading(NamedTuple):
    """What a file holds: its prices, and the keys left out because they are not priced per token."""

    prices: list[Price]
    left_out: list[str]


def read_file(path: Path) -> Reading:
    """The prices in a .json, .yaml, .yml or .csv file, in our form or LiteLLM's; PriceFileError when any row is bad."""
    parse = PARSERS.get(path.suffix.lower())
    if parse is None:
        raise PriceFileError(path, [Fault("", f"the name must end in {', '.join(PARSERS)}")])
    try:
        document = parse(_text(path))
    except (OSError, ValueError, RecursionError, csv.Error, yaml.YAMLError) as error:
        raise PriceFileError(path, [Fault("", str(error))]) from error
    if litellm.looks_like(document):
        return _read_litellm(path, document)
    return Reading(_collect(path, _read_rows(document)), [])


def merge(old: Iterable[Price], new: Iterable[Price]) -> list[Price]:
    """Both, the new replacing the old of the same provider and model, sorted."""
    rows = {_key(price): price for price in (*old, *new)}
    return [rows[key] for key in sorted(rows)]


def save_overrides(path: Path, rows: Iterable[Price]) -> None:
    """Write the user's prices, one row a line; a crash leaves the old file or the new one, never a part."""
    lines = b",\n".join(orjson.dumps(row_of(price)) for price in merge([], rows))
    _replace(path, b'{"unit": "%s",\n"models": [\n%s\n]}\n' % (UNIT.encode(), lines))


def load_overrides(path: Path) -> list[Price]:
    """The user's prices, none when the file does not exist; PriceFileError naming the file when it is broken."""
    return read_file(path).prices if path.exists() else []


def _text(path: Path) -> str:
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"is larger than {LARGEST_FILE} bytes")
    return path.read_text("utf-8-sig")


def _read_litellm(path: Path, document: Mapping[str, Any]) -> Reading:
    """A name both bare and with its provider before it is one model; the row that names its provider wins."""
    day = datetime.now(UTC).date().isoformat()
    priced = {key: row for key, row in document.items() if litellm.is_priced(key, row)}
    ordered = sorted(priced, key=lambda key: "/" in key)
    rows = ((key, lambda key=key: litellm.price_of(key, priced[key], day)) for key in ordered)
    return Reading(merge([], _collect(path, rows, repeats=True)), sorted(document.keys() - priced.keys()))


def _read_rows(document: Document) -> Iterator[tuple[Place, Any]]:
    """Where each row stands, and the call that reads it."""
    defaults: dict[str, str] = {}
    if isinstance(document, Mapping) and isinstance(document.get("models"), list):
        defaults = {name: document[name] for name in ("source", "date") if isinstance(document.get(name), str)}
        unit, document = document.get("unit", UNIT), document["models"]
        if unit != UNIT:
            yield "unit", lambda: _refuse(f"is not {UNIT!r}")
    if not isinstance(document, list):
        yield "", lambda: _refuse("neither a list of rows, nor a mapping with `models`, nor a list in LiteLLM's form")
        return
    for index, row in enumerate(document):
        yield _place(index, row), lambda row=row: price_of(_content(row), defaults)


def _refuse(reason: str) -> Price:
    raise BadRowError([reason])


def _place(index: int, row: object) -> Place:
    """The line of a CSV row, else the number of the row, with the name it gives itself."""
    if not isinstance(row, Mapping):
        return f"models[{index}]"
    name = "/".join(str(row[part])[:100] for part in ("provider", "model") if row.get(part))
    place = f"line {row[LINE]}" if LINE in row else f"models[{index}]"
    return f"{place} ({name})" if name else place


def _content(row: object) -> object:
    return {name: value for name, value in row.items() if name != LINE} if isinstance(row, Mapping) else row


def _collect(path: Path, rows: Iterable[tuple[Place, Any]], *, repeats: bool = False) -> list[Price]:
    """Every price, or PriceFileError with every fault. A row twice is a fault unless the form has two names for one."""
    found: dict[tuple[str, str], Price] = {}
    faults: list[Fault] = []
    for where, read in rows:
        try:
            price = read()
        except BadRowError as error:
            faults += (Fault(where, reason) for reason in error.reasons)
            continue
        if not repeats and _key(price) in found:
            faults.append(Fault(where, "is here twice"))
        found[_key(price)] = price
    if faults:
        raise PriceFileError(path, faults)
    return list(found.values())


def _key(price: Price) -> tuple[str, str]:
    return canonical(price.provider), bare(price.provider, price.model)


def _replace(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        scratch = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


LINE = "\0line"
"""Holds the line of a CSV row among its fields; no header can spell it."""


def _json(text: str) -> Document:
    return json.loads(text, parse_float=Decimal, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key come twice and keeps the last; in a price list that hides a mistake."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is here twice")
    return found


def _yaml(text: str) -> Document:
    return yaml.load(text, Loader=_Texts)  # noqa: S506 - makes text, lists and mappings only


class _Texts(yaml.BaseLoader):
    """Makes every scalar its text, so that a price never passes through a float, and refuses a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key is here twice", node.start_mark)
        return found


def _csv(text: str) -> Document:
    """Rows under a header line; tiers cannot be written so."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    return [{str(name): value for name, value in row.items()} | {LINE: reader.line_num} for row in reader]


PARSERS = {".json": _json, ".yaml": _yaml, ".yml": _yaml, ".csv": _csv}
