"""Import: whatever a list looks like, its rows arrive under the right columns, and every guess is told."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.problems import Problem
from app.services.row_jobs.import_list import export_address
from app.services.row_jobs.sheets import SheetError, read, sniff
from app.services.row_jobs.types import TYPES, JobFailed
from support.rows import Json
from support.site import Web, reply

PLAIN = st.text(alphabet="abcé xyz", min_size=1, max_size=8).filter(lambda text: text.strip())


def pasted(text: str) -> list[Json]:
    """The rows of a pasted list."""
    return TYPES["import"].prepare({"text": text}, []).items


def notices(text: str) -> tuple[str, ...]:
    """What its owner is told."""
    return TYPES["import"].prepare({"text": text}, []).notices


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_the_separator_is_found(separator: str) -> None:
    """Semicolons, commas and tabs, with the others inside quotes."""
    lines = [["nom", "email"], ['"A; B, C"', "a@b.fr"], ["D", "d@e.fr"]]
    text = "\r\n".join(separator.join(line) for line in lines)
    assert pasted(text) == [{"nom": "A; B, C", "email": "a@b.fr"}, {"nom": "D", "email": "d@e.fr"}]


def test_commas_in_texts_do_not_beat_the_real_separator() -> None:
    """Addresses have commas; every line has the separator."""
    assert sniff("nom;adresse\nA;1, rue X, Paris\nB;2 rue Y\nC;3, rue Z") == ";"


@settings(deadline=None)
@given(
    st.sampled_from([";", ",", "\t"]),
    st.lists(st.tuples(PLAIN, PLAIN, PLAIN), min_size=1, max_size=12),
)
def test_a_list_with_a_header_is_read_cell_by_cell(separator: str, lines: list[tuple[str, ...]]) -> None:
    """Whatever the separator: as many rows, each cell where it was."""
    text = "\n".join(separator.join(line) for line in [("nom", "ville", "own"), *lines])
    expected = [dict(zip(("nom", "ville", "own"), (c.strip() for c in line), strict=True)) for line in lines]
    assert pasted(text) == expected


def test_headers_are_resolved_through_the_aliases() -> None:
    """Each mapping is told; a column of one's own keeps its name."""
    text = "Raison sociale;Téléphone;Website;Courriel;Commentaire;nom_interne\nA;01 23 45 67 89;a.fr;a@a.fr;x;y"
    [row] = pasted(text)
    assert list(row) == ["nom", "telephone", "site_web", "email", "Commentaire", "nom_interne"]
    assert notices(text) == (
        "The list was read as separated by semicolons.",
        'Column "Raison sociale" was read as nom.',
        'Column "Téléphone" was read as telephone.',
        'Column "Website" was read as site_web.',
        'Column "Courriel" was read as email.',
    )


def test_two_columns_never_share_a_name() -> None:
    """The canonical one wins, then the first alias; unnamed and repeated ones are numbered."""
    assert list(pasted("Phone;telephone;;x;x\n1;2;3;4;5")[0]) == ["Phone", "telephone", "column_3", "x", "x_2"]
    assert list(pasted("Phone;Tel;nom\n1;2;a")[0]) == ["telephone", "Tel", "nom"]


def test_a_list_without_a_header_is_read_by_what_it_holds() -> None:
    """Each recognised column is told."""
    text = (
        "Boulangerie Martin;12 rue de la Paix;75002;Paris;01 42 61 00 00;https://martin.fr;contact@martin.fr\n"
        "Garage Dupont;3 avenue Foch;69006;Lyon;04 78 00 00 00;www.dupont.fr;dupont@orange.fr\n"
        "Chez Zoé;;33000;Bordeaux;05 56 00 00 00;;zoe@zoe.com"
    )
    rows = pasted(text)
    assert list(rows[0]) == ["nom", "adresse", "code_postal", "ville", "telephone", "site_web", "email"]
    assert len(rows) == 3
    assert rows[2]["adresse"] is None
    told = notices(text)
    assert told[1] == "The list has no header."
    assert "Column 7 was read as email, by what it holds." in told
    assert len(told) == 9


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a@b.fr\nc@d.fr", [{"email": "a@b.fr"}, {"email": "c@d.fr"}]),
        ("email\na@b.fr", [{"email": "a@b.fr"}]),
        ("Qui\na@b.fr\nc@d.fr", [{"Qui": "a@b.fr"}, {"Qui": "c@d.fr"}]),
        ("https://a.fr\nb.fr/x", [{"site_web": "https://a.fr"}, {"site_web": "b.fr/x"}]),
        ("06 12 34 56 78\n+33 1 23 45 67 89", [{"telephone": "06 12 34 56 78"}, {"telephone": "+33 1 23 45 67 89"}]),
        ("https://www.google.com/maps/place/x", [{"lien_google_maps": "https://www.google.com/maps/place/x"}]),
        ("Chez Martin\nChez Zoé", [{"nom": "Chez Martin"}, {"nom": "Chez Zoé"}]),
        ("nom\n\n \nA\n", [{"nom": "A"}]),
        ("\ufeffnom;ville\nA;B", [{"nom": "A", "ville": "B"}]),
        ("nom;ville\nA", [{"nom": "A", "ville": None}]),
        ("nom\nA;B;C", [{"nom": "A", "column_2": "B", "column_3": "C"}]),
    ],
)
def test_small_lists_are_understood(text: str, rows: list[Json]) -> None:
    """One column, blank lines, ragged lines, and the mark of UTF-8."""
    assert pasted(text) == rows


def test_a_quote_that_never_closes_costs_nothing() -> None:
    """It is a character then, and not the rest of the list."""
    rows = pasted('nom;ville\n"A;B\n' + "C;D\n" * 9_000 + "x" * 200_000 + ";E")
    assert len(rows) in {1, 9_002}
    assert pasted('nom;ville\nA "x" B;C')[0]["nom"] == 'A "x" B'


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=st.sampled_from([*'";,\t\n\r\x00@. aé1=']), max_size=60))
def test_any_text_is_a_list_or_is_refused(text: str) -> None:
    """Never an error of ours, never a row without cells."""
    with suppress(SheetError):
        rows = read(text).rows
        assert rows
        assert all(any(cell is not None for cell in row.values()) for row in rows)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (" \n \n", "minItems"),
        ("nom;email", "minItems"),
        ("nom\n" + "a\n" * 10_001, "maxItems"),
        (";".join(["a"] * 201), "maxProperties"),
        ("é" * 3_000_000, "maxLength"),
        ("x" * 5_242_881, "maxLength"),
    ],
)
def test_a_list_that_cannot_be_taken_is_refused(text: str, rule: str) -> None:
    """Empty, a header alone, more than 10,000 rows, 200 columns or 5 MiB: the field is named."""
    with pytest.raises(Problem) as refused:
        pasted(text)
    assert [(issue.path, issue.rule) for issue in refused.value.issues] == [(("body", "text"), rule)]


def test_ten_thousand_rows_are_read_quickly() -> None:
    """The largest list is read while its sender waits."""
    text = "\n".join(f"Société {i};0{i:09d};https://s{i}.fr;contact{i}@s{i}.fr" for i in range(10_000))
    began = time.process_time()
    assert len(pasted(text)) == 10_000
    assert time.process_time() - began < 3


def test_rows_of_another_job_come_under_canonical_columns() -> None:
    """All other columns stay."""
    rows = [{"name": "A", "note": "4,5", "own": [1]}]
    prepared = TYPES["import"].prepare({"source": "from_job", "from_job_id": "j_01HXYZ99"}, rows)
    assert prepared.items == [{"nom": "A", "rating": "4,5", "own": [1]}]
    assert prepared.notices == ('Column "name" was read as nom.', 'Column "note" was read as rating.')
    assert prepared.ef_cost == 0


def test_only_the_parameter_of_the_source_is_kept() -> None:
    """So that a job says where its rows came from, and one way of working."""
    kind = TYPES["import"]
    text = kind.prepare({"text": "nom\nA", "url": "https://a.fr/x.csv"}, [])
    assert text.params == {"source": "paste", "text": "nom\nA"}
    url = kind.prepare({"source": "url", "url": "https://a.fr/x.csv", "text": "x"}, [])
    assert (url.params, url.items) == ({"source": "url", "url": "https://a.fr/x.csv"}, [{"url": "https://a.fr/x.csv"}])
    assert (kind.in_units(text.params), kind.in_units(url.params)) == (False, True)
    assert kind.whole is not None
    assert list(kind.whole(text.params, text.items)) == [{"nom": "A"}]


@pytest.mark.parametrize(
    "params",
    [{}, {"source": "url"}, {"source": "url", "url": "http://u:p@a.fr/"}, {"source": "from_job"}, {"source": "ftp"}],
)
def test_what_the_schema_refuses_is_refused_here(params: Json) -> None:
    """Each source has its own required parameter."""
    with pytest.raises(Problem):
        TYPES["import"].prepare(params, [])


def listed(run: Any, url: str) -> list[Json]:
    """The rows of the list at a URL."""
    rows: list[Json] = run("import", {"source": "url", "url": url}, [])
    return rows


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("nom;ville\nCafé;Orléans".encode(), "text/csv; charset=utf-8"),
        ("\ufeffnom;ville\nCafé;Orléans".encode(), "text/csv"),
        ("nom;ville\nCafé;Orléans".encode("cp1252"), "text/csv"),
        ("nom;ville\nCafé;Orléans".encode("cp1252"), "text/csv; charset=utf-8"),
        ("nom;ville\nCafé;Orléans".encode("utf-16"), "application/octet-stream"),
    ],
)
def test_a_list_at_an_address_is_read(run: Any, web: Web, body: bytes, content_type: str) -> None:
    """In the charset it is in, whatever its server says; the guesses go to the job's log."""
    web.pages["/list.csv?x=1"] = reply(body, content_type=content_type)
    assert listed(run, f"{web.url}/list.csv?x=1") == [{"nom": "Café", "ville": "Orléans"}]
    assert run.told == ["The list was read as separated by semicolons."]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (reply("no", 404), "answered 404"),
        (reply("<!doctype html><p>Sign in"), "web page and no list"),
        (reply(b"PK\x03\x04rest"), "workbook or an archive"),
        (reply(b"a" * 5_300_000, content_type="text/csv"), "larger than 5 MiB"),
        (reply("nom", content_type="text/csv"), "has no rows"),
        (b"", "could not be read: no connection"),
    ],
)
def test_what_is_no_list_fails_with_a_reason(run: Any, web: Web, page: bytes, message: str) -> None:
    """In words for the list's owner."""
    web.pages["/"] = page
    with pytest.raises(JobFailed, match=message):
        listed(run, web.url)


def test_a_private_address_is_not_read(run: Any) -> None:
    """The address is the user's choice, the network is not."""
    with pytest.raises(JobFailed, match="public addresses only"):
        listed(run, "http://10.0.0.1/list.csv")


@pytest.mark.parametrize(
    ("link", "address"),
    [
        ("https://x.test/spreadsheets/d/1AbcdefghijklmnopqrstuvwxyZ/edit#gid=12", "/export?format=csv&gid=12"),
        ("https://x.test/spreadsheets/d/1AbcdefghijklmnopqrstuvwxyZ/edit?gid=3#gid=3", "/export?format=csv&gid=3"),
        ("https://x.test/spreadsheets/d/1AbcdefghijklmnopqrstuvwxyZ", "/export?format=csv"),
    ],
)
def test_a_shared_spreadsheet_is_read_at_its_export(link: str, address: str) -> None:
    """People paste the link from their browser."""
    assert export_address(link) == "https://x.test/spreadsheets/d/1AbcdefghijklmnopqrstuvwxyZ" + address
    assert export_address(f"https://x.test/?{link}") == f"https://x.test/?{link}"
