"""Whether code parses, by the parser of its language."""

from __future__ import annotations

import pytest

from app.gateway.modules.parsing import LONGEST, PARSERS, TOO_DEEP, fault, language_of
from support.timing import cpu_seconds

SOUND = {
    "python": [
        "def f(x):\n    return x\n",
        "    x = 1\n    y = 2",
        "await thing()",
        ">>> 1 +\n1",
        "s = '\\d'",
        "",
        "match x:\n    case 1:\n        pass",
    ],
    "json": ['{"a": [1, 2]}', "null", '  "text" '],
    "yaml": ["a: 1\nb:\n  - 2", "---\na: 1\n---\nb: 2", "a: &x [1]\nb: *x", ""],
    "toml": ['[a]\nb = "c"', ""],
    "xml": ["<a><b/></a>", "<a/><b/>", '<?xml version="1.0"?>\n<a>&amp;</a>', "\n<a/>\n"],
}
BROKEN = {
    "python": [("x = 1\ndef f(:\n", "line 2: "), ("return (", "line 1: '(' was never closed"), ("1 +", "line 1: ")],
    "json": [('{"a": 1,}', "line 1: "), ("{'a': 1}", "line 1: Expecting property name"), ("", "line 1: ")],
    "yaml": [("a: 1\n b: 2", "line 2: "), ("a: [1", "line 2: "), ("a: 'b", "line 1: ")],
    "toml": [("a = ", "Invalid value"), ("a = 1\na = 2", "Cannot overwrite a value")],
    "xml": [("<a><b></a>", "line 1: mismatched tag"), ("<a>&</a>", "line 1: not well-formed")],
}


def test_every_language_is_tried() -> None:
    """And a new one is not forgotten here."""
    assert SOUND.keys() == BROKEN.keys() == PARSERS.keys()


@pytest.mark.parametrize(("language", "code"), [(name, code) for name, codes in SOUND.items() for code in codes])
def test_what_parses_is_not_faulted(language: str, code: str) -> None:
    """Pieces out of their place, doctests and several documents included; and nothing is warned of."""
    assert fault(language, code) == ""


@pytest.mark.parametrize(
    ("language", "code", "said"), [(name, code, said) for name, codes in BROKEN.items() for code, said in codes]
)
def test_what_does_not_parse_is_told_with_its_line(language: str, code: str, said: str) -> None:
    """As the language's own parser says it."""
    assert fault(language, code).startswith(said)


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "-" * (LONGEST - 10) + "1"),
        ("python", "1" + "+1" * 24_000),
        ("json", "[" * (LONGEST - 10)),
        ("yaml", "[" * (LONGEST - 10)),
        ("yaml", "{a: " * 900),
        ("xml", "<a>" * 16_000),
        ("toml", "a = " + "[" * 40_000),
    ],
)
def test_code_that_is_meant_to_hurt_is_soon_done_with(language: str, code: str) -> None:
    """Whatever is found, the worker goes on at once."""
    found: list[str] = []
    assert cpu_seconds(lambda: found.append(fault(language, code))) < 1
    assert found[0] in {"", TOO_DEEP} or language in {"xml", "yaml", "toml"}


def test_entities_are_not_expanded_and_long_code_is_left_alone() -> None:
    """A bomb of a few lines would fill the memory."""
    bomb = '<!DOCTYPE a [<!ENTITY x "yyyyyyyyyy"><!ENTITY z "&x;&x;&x;">]><a>&z;</a>'
    assert fault("xml", bomb) == ""
    assert fault("json", "[" + "1," * LONGEST) == ""
    assert fault("cobol", "MOVE") == ""


def test_a_language_has_one_name() -> None:
    """Models write it as they like."""
    assert [language_of(name) for name in ("PY", "python3", "Yml", "svg", "json", "")] == [
        *("python", "python", "yaml", "xml", "json", "")
    ]
