"""Passages: an operator's documents in pieces, and which of them are about a question (Okapi BM25)."""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from app.gateway.modules.words import words, words_of
from app.gateway.usage import estimate_tokens

log = logging.getLogger("yardmaster.contextpack")
# What one worker reads and keeps of all sources together.
MOST_CHARACTERS: Final = 1_000_000
MOST_FILES: Final = 500
MOST_ENTRIES: Final = 5_000
LONGEST_FILE: Final = 1_000_000
LENGTH: Final = 900
KINDS: Final = frozenset({".md", ".txt", ".rst", ".text", ".markdown", ".csv", ".json", ".yaml", ".yml", ".html"})
# Words of a question that are looked for, and passages so few that any word tells them apart.
MOST_WORDS, FEW = 32, 20
# Okapi BM25's usual constants: how soon a repeated word stops counting, and how much a long passage is held back.
SATURATION, LENGTHS = 1.2, 0.75


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, short enough to stand in a prompt."""

    source: str
    text: str
    tokens: int


class Passages:
    """An index made once, when settings change; a question costs a look at each of its words."""

    def __init__(self, documents: Iterable[tuple[str, str]]) -> None:
        self.passages = [Passage(name, text, estimate_tokens(text)) for name, all_ in documents for text in split(all_)]
        self._found: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        counts = [Counter(words(passage.text)) for passage in self.passages]
        mean = sum(map(Counter.total, counts)) / max(1, len(counts)) or 1.0
        for number, counted in enumerate(counts):
            long = SATURATION * (1 - LENGTHS + LENGTHS * counted.total() / mean)
            for word, times in counted.items():
                self._found[word].append((number, times * (SATURATION + 1) / (times + long)))

    def about(self, question: str, most_tokens: int) -> list[Passage]:
        """The passages that share words with the question, the best first, as many as may be taken."""
        scores: defaultdict[int, float] = defaultdict(float)
        for holding in self._telling(question):
            rare = math.log(1 + (len(self.passages) - len(holding) + 0.5) / (len(holding) + 0.5))
            for number, weight in holding:
                scores[number] += rare * weight
        chosen: list[Passage] = []
        for number, _ in sorted(scores.items(), key=lambda found: (-found[1], found[0])):
            passage = self.passages[number]
            if passage.tokens <= most_tokens:
                chosen.append(passage)
                most_tokens -= passage.tokens
        return chosen

    def _telling(self, question: str) -> list[list[tuple[int, float]]]:
        """Where the rarest of its words are: what is in every other passage tells nothing, and takes longest."""
        few = max(FEW, len(self.passages) // 2)
        found = (self._found[word] for word in words_of(question) if word in self._found)
        return sorted((holding for holding in found if len(holding) <= few), key=len)[:MOST_WORDS]


def split(text: str) -> Iterator[str]:
    """A document in passages: paragraphs together as long as they fit, a long one cut between words."""
    held = ""
    for paragraph in (part.strip() for part in text.split("\n\n")):
        if held and len(held) + len(paragraph) > LENGTH:
            yield held
            held = ""
        held = f"{held}\n\n{paragraph}" if held and paragraph else held or paragraph
        while len(held) > LENGTH:
            at = held.rfind(" ", LENGTH // 2, LENGTH) + 1 or LENGTH
            yield held[:at].rstrip()
            held = held[at:].lstrip()
    if held:
        yield held


def files_in(root: Path, path: str) -> Iterator[tuple[str, str]]:
    """The texts of a directory inside `root`, each with its name; none of it leads out, not by a link either."""
    left = MOST_CHARACTERS
    for file in _files(root.resolve(), path):
        if left <= 0:
            break
        if text := _text(file):
            left -= len(text)
            yield file.relative_to(root.resolve()).as_posix(), text


def _files(root: Path, path: str) -> list[Path]:
    """The files of texts below a directory inside the root, sorted by name; none when it is no such directory."""
    try:
        folder = (root / path).resolve()
        if folder.is_relative_to(root) and folder.is_dir():
            found = sorted(islice(folder.rglob("*"), MOST_ENTRIES))
            texts = [file for file in found if file.suffix.lower() in KINDS and file.resolve().is_relative_to(root)]
            return texts[:MOST_FILES]
    except (OSError, ValueError) as error:  # a name no system can have, a folder that may not be read
        log.warning("a directory of a source cannot be read: %s", type(error).__name__)
    else:
        log.warning("a source names no directory in %s", root)
    return []


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(LONGEST_FILE)
    except OSError as error:
        log.warning("a file of a source cannot be read: %s", type(error).__name__)
        return ""
