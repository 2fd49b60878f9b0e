"""Parsing: whether a text is written in the language it claims to be, by that language's own parser."""

from __future__ import annotations

import ast
import json
import tomllib
import warnings
from collections.abc import Callable, Mapping
from textwrap import dedent
from typing import Final
from xml.parsers import expat

import yaml

# What is longer, or opens more brackets, is not looked at: parsing holds up every other call of the worker.
LONGEST: Final = 50_000
MOST_BRACKETS: Final = 1_000
NAMES: Final = {"py": "python", "python3": "python", "yml": "yaml", "svg": "xml"}
# Code with the answers of an interpreter between its lines.
PROMPT: Final = ">>>"
TOO_DEEP: Final = "it is nested too deeply"


def language_of(claimed: str) -> str:
    """The language by its one name."""
    return NAMES.get(claimed.lower(), claimed.lower())


def fault(language: str, code: str) -> str:
    """What is wrong with the code, with its line where the parser says it; empty when it parses or is not looked at."""
    parse = PARSERS.get(language)
    if parse is None or len(code) > LONGEST:
        return ""
    try:
        parse(code)
    except (SyntaxError, ValueError, yaml.YAMLError, expat.ExpatError) as error:
        return _said(error)
    except (RecursionError, MemoryError):
        return TOO_DEEP
    return ""


def _said(error: Exception) -> str:
    """The parser's words."""
    if isinstance(error, yaml.MarkedYAMLError):
        line = error.problem_mark.line + 1 if error.problem_mark else None
        return _at(line, error.problem or "it does not parse")
    if isinstance(error, expat.ExpatError):
        return _at(error.lineno, expat.ErrorString(error.code))
    if isinstance(error, SyntaxError | json.JSONDecodeError):
        return _at(error.lineno, error.msg)
    return str(error)


def _at(line: int | None, what: str) -> str:
    return f"line {line}: {what}" if line else what


def _python(code: str) -> None:
    if code.lstrip().startswith(PROMPT):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd escapes are no errors, and none of the server's
        ast.parse(dedent(code))


def _yaml(code: str) -> None:
    """The events alone: no value is made, no alias is followed."""
    if code.count("[") + code.count("{") > MOST_BRACKETS:
        return
    for _ in yaml.parse(code, Loader=yaml.CSafeLoader):
        pass


def _xml(code: str) -> None:
    """A document, or several elements side by side; entities of its own, which may be a bomb, are not expanded."""
    if "<!ENTITY" in code:
        return
    whole = code.lstrip().startswith("<?xml") or "<!DOCTYPE" in code
    expat.ParserCreate().Parse(code.strip() if whole else f"<x>{code}</x>", True)


PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "python": _python,
    "json": json.loads,
    "yaml": _yaml,
    "toml": tomllib.loads,
    "xml": _xml,
}
