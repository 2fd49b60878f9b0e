"""Rows as people's sheets hold them, and jobs over them as the server runs them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from app.services.row_jobs.types import TYPES

Json = dict[str, Any]

WORDS = st.sampled_from(["", " ", "Boulangerie", "boulangerie ", "Été", "=1+1", "12", "4,5", "-3"])
CONTACTS = st.sampled_from(
    ["info@acme.fr", "jean.dupont@acme.fr", "a@yopmail.com", "x@gmail.com", "+33 6 12 34 56 78", "0612345678", "02"]
)
CELLS = st.one_of(st.none(), st.booleans(), st.integers(-50, 50), st.floats(0, 5), WORDS, CONTACTS, st.text(max_size=8))
NAMES = ["nom", "name", "telephone", "Phone", "email", "E-mail", "site_web", "rating", "nb_avis", "own"]
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), CELLS, max_size=6), max_size=25)


def ran(slug: str, params: Json, rows: list[Json]) -> list[Json]:
    """The result of a job that works on all rows at once."""
    kind = TYPES[slug]
    prepared = kind.prepare(params, rows)
    assert kind.whole is not None
    return list(kind.whole(prepared.params, prepared.items))
