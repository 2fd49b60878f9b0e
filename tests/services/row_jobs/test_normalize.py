"""Normalize: one form for every way to write the same contact, and nothing lost of what cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.problems import Problem
from app.services.row_jobs.types import TYPES
from support.rows import NAMES, ROWS, Json, ran

CONTACTS = st.one_of(
    st.text(alphabet="+0123456789 ().-ext", max_size=20),
    st.text(alphabet="aé@.,; <>ßİ-", max_size=12),
    st.text(alphabet="htps:/.w%2E?#é ", max_size=20),
)
CONTACT_ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), CONTACTS, max_size=6), max_size=8)


def normal(column: str, cell: Any, **params: Any) -> Any:
    """The cell afterwards."""
    [row] = ran("normalize", params, [{column: cell}])
    return row[column]


@settings(deadline=None)
@given(st.one_of(ROWS, CONTACT_ROWS), st.sampled_from(["FR", "US", "BE", "IT"]))
def test_normalising_again_changes_nothing(rows: list[Json], country: str) -> None:
    """Forms are final, and only contacts are touched: same rows, same keys, in order."""
    once = ran("normalize", {"country": country}, rows)
    assert ran("normalize", {"country": country}, once) == once
    assert [list(row) for row in once] == [list(row) for row in rows]
    others = {"nom", "name", "rating", "nb_avis", "own"}
    assert [[row[k] for k in row if k in others] for row in once] == [[r[k] for k in r if k in others] for r in rows]


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("06 12 34 56 78", "+33612345678"),
        ("0033 6.12.34.56.78", "+33612345678"),
        ("+33 (0)6 12 34 56 78", "+33612345678"),
        ("tel:+33612345678", "+33612345678"),
        ("+32 470 12 34 56", "+32470123456"),
        (612345678, "+33612345678"),
        ("12", "12"),
        (" n/a ", "n/a"),
        ("01 23 45 67 89 ext. 5", "01 23 45 67 89 ext. 5"),
        ("", ""),
        (None, None),
        (True, True),
    ],
)
def test_telephones_are_in_e164(written: Any, form: Any) -> None:
    """Of the job's country when they name none; an extension has no place in E.164 and is not thrown away."""
    assert normal("telephone", written) == form


def test_the_country_is_the_one_asked_for() -> None:
    """The same digits are another number elsewhere."""
    assert normal("Phone", "(212) 555-2368", country="US") == "+12125552368"
    assert normal("mobile", "0470 12 34 56", country="BE") == "+32470123456"


@pytest.mark.parametrize(
    ("written", "form"),
    [
        (" Jean.Dupont@Acme.FR ", "jean.dupont@acme.fr"),
        ("mailto:A@b.fr", "a@b.fr"),
        ("<a@b.fr>", "a@b.fr"),
        ("a@Bücher.de", "a@xn--bcher-kva.de"),
        ("A@b.fr; c@D.fr", "a@b.fr, c@d.fr"),
        ("Not An Address", "Not An Address"),
        ("a@b.fr or so", "a@b.fr or so"),
    ],
)
def test_addresses_are_in_lower_case(written: str, form: str) -> None:
    """All of them when a cell has several, or none."""
    assert normal("email", written) == form


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("WWW.Acme.fr", "https://www.acme.fr/"),
        ("http://acme.fr:80/a/../b#c", "http://acme.fr/b"),
        ("none yet", "none yet"),
    ],
)
def test_web_addresses_are_canonical(written: str, form: str) -> None:
    """Over HTTPS unless they say otherwise."""
    assert normal("website", written) == form


@pytest.mark.parametrize(
    ("switch", "column", "cell"),
    [("phones", "telephone", "06 12 34 56 78"), ("emails", "email", "A@b.fr"), ("urls", "site_web", "Acme.fr")],
)
def test_what_is_switched_off_is_left_alone(switch: str, column: str, cell: str) -> None:
    """Each kind has its own switch."""
    assert normal(column, cell, **{switch: False}) == cell
    assert normal(column, cell) != cell


def test_a_country_there_is_none_of_is_refused() -> None:
    """ZZ would read no number, silently."""
    with pytest.raises(Problem) as refused:
        TYPES["normalize"].prepare({"country": "ZZ"}, [])
    assert refused.value.issues[0].path == ("body", "country")
