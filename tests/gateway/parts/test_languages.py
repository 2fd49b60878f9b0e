"""Which language a text is written in."""

from __future__ import annotations

import pytest

from app.gateway.modules.languages import language_of


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The train to Bern is late, and that was not the plan."),
        ("de", "Der Zug nach Bern ist verspätet, und das war nicht der Plan."),
        ("fr", "Le train pour Berne est en retard et nous attendons dans la gare."),
        ("es", "El tren con destino a Berna está retrasado y los viajeros esperan."),
        ("it", "Il treno per Berna è in ritardo e i viaggiatori non sono contenti."),
        ("pt", "O trem para Berna não chegou e os passageiros são muito pacientes."),
        ("nl", "De trein naar Bern is te laat en dat was niet het plan."),
        ("ru", "Поезд в Берн опаздывает."),
        ("el", "Το τρένο για τη Βέρνη"),
        ("ar", "القطار إلى برن متأخر"),
        ("he", "הרכבת לברן מאחרת"),
        ("hi", "बर्न की ट्रेन देर से है"),
        ("th", "รถไฟไปเบิร์น"),
        ("ja", "ベルン行きの電車が遅れています"),
        ("ko", "베른행 기차가 늦었습니다"),
        ("zh", "开往伯尔尼的火车晚点了"),
        ("", "Bern"),
        ("", "12:30 / 42 %"),
        ("", ""),
    ],
)
def test_a_language_is_told_by_its_script_or_its_small_words(language: str, text: str) -> None:
    """And not guessed where there are none."""
    assert language_of(text) == language
