"""Columns by whatever name a sheet gives them: one table of aliases, and how rows are read and renamed through it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from app.services.row_jobs.contract import Json

Getter = Callable[[Json], Any]
# Canonical name, then what people and other tools write at the top of that column, folded.
TABLE: Final[Mapping[str, str]] = {
    "nom": "name company company_name raison_sociale societe entreprise denomination etablissement enseigne",
    "telephone": "phone tel phone_number telephone_fixe tel_fixe numero_de_telephone num_tel phones mobile_phone",
    "site_web": "website url site web domain domaine site_internet web_site website_url homepage page_web",
    "email": "e_mail mail courriel adresse_email adresse_e_mail email_address adresse_mail emails",
    "lien_google_maps": "google_maps_url google_maps google_maps_link maps_url lien_maps gmaps",
    "adresse": "address adresse_postale street street_address rue adresse_complete full_address",
    "ville": "city town commune localite",
    "code_postal": "zip postcode zip_code postal_code cp codepostal",
    "rating": "note stars note_moyenne rating_value",
    "reviews_count": "nb_avis reviews review_count nombre_d_avis nb_reviews avis",
    "category": "categorie activite secteur",
    "siren": "numero_siren",
    "lat": "latitude",
    "lon": "longitude lng",
}
ALIASES: Final = {alias: name for name, aliases in TABLE.items() for alias in (name, *aliases.split())}
SPACES: Final = re.compile(r"\s+")
SEPARATORS: Final = re.compile(r"[^a-z0-9]+")


@lru_cache(4096)
def fold(name: str) -> str:
    """A header without case, accents and punctuation: `Raison sociale` and `raison_sociale` are one."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return SEPARATORS.sub("_", plain.lower()).strip("_")


def canonical(name: str) -> str | None:
    """The column a header stands for; None when it is the caller's own."""
    return ALIASES.get(fold(name))


def blank(value: Any) -> bool:
    """Whether a cell holds nothing: null, no text but spaces, or an empty list or object. 0 and false are something."""
    return not value.strip() if isinstance(value, str) else value is None or value in ([], {})


def text(value: Any) -> str:
    """A cell as trimmed text; empty when it is blank."""
    return "" if value is None else str(value).strip()


def same(cell: Any) -> str:
    """What two cells share that people take for equal: their text, whatever its case and spaces."""
    return SPACES.sub(" ", text(cell)).casefold()


def seen(rows: Iterable[Json]) -> list[str]:
    """Every column of the rows, in order of first appearance."""
    return list(dict.fromkeys(chain.from_iterable(rows)))


def filled(row: Json) -> int:
    """How many cells of a row are not blank."""
    return sum(not blank(cell) for cell in row.values())


def keys(known: Iterable[str], column: str) -> list[str]:
    """The known keys that mean a column: its very name first, then what folds or resolves to the same."""
    known, meant = list(known), _meaning(column)
    return [key for key in known if key == column] + [k for k in known if k != column and _meaning(k) == meant]


def getter(known: Iterable[str], column: str) -> Getter:
    """Reads a column of a row, under whichever of its names is not blank there; None when all are."""
    names = keys(known, column)
    if len(names) == 1:
        only = names[0]
        return lambda row: row.get(only)
    return lambda row: next((row[name] for name in names if name in row and not blank(row[name])), None)


def _meaning(name: str) -> str:
    return canonical(name) or fold(name) or name


def resolve(rows: Sequence[Json], wanted: Collection[str]) -> tuple[list[Json], tuple[str, ...]]:
    """The rows with aliases of the wanted columns renamed, and a notice for each; other keys stay as they are.

    A column that is there under its own name keeps its value; of two aliases in one row the first is taken.
    """
    meant = ((key, canonical(key)) for key in seen(rows))
    aliases = {key: name for key, name in meant if name and name in wanted and name != key}
    if not aliases:
        return list(rows), ()
    return [_renamed(row, aliases) for row in rows], tuple(notice(key, name) for key, name in aliases.items())


def notice(header: str, column: str) -> str:
    """The sentence that tells of a mapping."""
    return f'Column "{header[:100]}" was read as {column}.'


def _renamed(row: Json, aliases: Mapping[str, str]) -> Json:
    result: Json = {}
    for key, value in row.items():
        name = aliases.get(key, key)
        taken = not blank(result.get(name)) or (name != key and not blank(row.get(name)))
        if not taken:
            result[name] = value
        elif name != key:
            result[key] = value
    return result
